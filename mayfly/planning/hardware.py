"""Which hardware: offers that fit, cheapest first, and why each is taken or left."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from mayfly.models.errors import BadRequest, HardwareUnavailable
from mayfly.models.offers import Offer, same_hardware


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An offer and what was decided about it."""

    offer: Offer
    eligible: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """All offers with the decision on each; the eligible ones in the order in which to try them."""

    candidates: tuple[Candidate, ...]

    @property
    def eligible(self) -> tuple[Offer, ...]:
        """The offers to try, best first; never empty."""
        return tuple(candidate.offer for candidate in self.candidates if candidate.eligible)

    @property
    def chosen(self) -> Offer:
        """The first to try."""
        return self.eligible[0]

    def without(self, hardware: Sequence[str]) -> Self:
        """Return the placement with some hardware left out, unless that would be all of it."""
        if not [offer for offer in self.eligible if offer.hardware not in hardware]:
            return self
        return replace(
            self,
            candidates=tuple(
                replace(candidate, eligible=False, why="could not be had")
                if candidate.eligible and candidate.offer.hardware in hardware
                else candidate
                for candidate in self.candidates
            ),
        )


def _wanted(offers: Sequence[Offer], hardware: str) -> list[Offer]:
    """Return the offers that were asked for; an id as it stands goes before one alike."""
    if hardware == "auto":
        return list(offers)
    named = [offer for offer in offers if offer.hardware == hardware.strip()]
    return named or [offer for offer in offers if same_hardware(offer.hardware, hardware)]


def _first_tried(offer: Offer) -> tuple[float, int, str, int, int, bool]:
    """Return what offers are sorted by: the price, and of one price what a batch is faster on.

    A batch wants throughput: configs that draft tokens, then those made for throughput, then those
    of which a benchmark is known.
    """
    made_for = {"throughput": 0, "balanced": 1, "": 1, "latency": 2}.get(offer.optimization, 1)
    return (
        *(offer.price_usd_per_h, offer.gpu_count, offer.hardware),
        *(0 if offer.draft_model else 1, made_for, offer.tokens_per_s is None),
    )


def place(
    offers: Sequence[Offer], *, model: str, hardware: str, regions: Sequence[str], replicas: int
) -> Placement:
    """Decide on every offer: the cheapest with room first, or just the hardware that was named.

    Args:
        hardware: `auto`, or an id in either generation's spelling.
        regions: Allowed regions; none means all.
        replicas: How many must fit at the start.

    Raises:
        BadRequest: No offer fits the request; the message lists those that exist.
        HardwareUnavailable: Offers fit, and none has room.
    """
    if not offers:
        raise BadRequest(
            f"model {model}: there is no hardware that it can be deployed on; "
            "choose a model from the list of dedicated models"
        )
    listed = ", ".join(offer.hardware for offer in offers)
    wanted = _wanted(offers, hardware)
    if not wanted:
        raise BadRequest(f"hardware {hardware} does not fit {model}; choose one of: {listed}")
    known = {region.name for offer in offers for region in offer.regions}
    if unknown := [name for name in regions if known and name not in known]:
        raise BadRequest(
            f"region {unknown[0]} is not offered for {model}; choose of: {', '.join(sorted(known))}"
        )
    ranked = sorted(offers, key=_first_tried)
    judged: list[Candidate] = []
    for offer in ranked:
        if offer not in wanted:
            judged.append(Candidate(offer=offer, eligible=False, why=f"not {hardware}"))
        elif offer.has_room(regions, replicas):
            first = not any(candidate.eligible for candidate in judged)
            why = ("cheapest with room" if hardware == "auto" else "asked for") if first else "next"
            judged.append(Candidate(offer=offer, eligible=True, why=why))
        else:
            where = f" in {', '.join(regions)}" if regions else ""
            judged.append(Candidate(offer=offer, eligible=False, why=f"no room{where} now"))
    placement = Placement(candidates=tuple(judged))
    if not placement.eligible:
        where = f" in {', '.join(regions)}" if regions else ""
        raise HardwareUnavailable(
            f"model {model}: no room{where} for {replicas} replica(s) on "
            f"{', '.join(offer.hardware for offer in wanted)}; "
            "try again later, or name another --region or --hardware"
        )
    return placement
