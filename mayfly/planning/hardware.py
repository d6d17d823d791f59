"""Select hardware: offers that fit the job, cheapest first, with the reason for each decision."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from mayfly.models.errors import BadRequest, HardwareUnavailable
from mayfly.models.nearest import nearest
from mayfly.models.offers import Offer, same_hardware


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An offer and the decision on it."""

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
        """Return the placement without some hardware, unless nothing would be left."""
        if not [offer for offer in self.eligible if offer.hardware not in hardware]:
            return self
        return replace(
            self,
            candidates=tuple(
                replace(candidate, eligible=False, why="not available")
                if candidate.eligible and candidate.offer.hardware in hardware
                else candidate
                for candidate in self.candidates
            ),
        )


def _wanted(offers: Sequence[Offer], hardware: str) -> list[Offer]:
    """Return the requested offers; an exact id wins over one that only normalises to the same."""
    if hardware == "auto":
        return list(offers)
    named = [offer for offer in offers if offer.hardware == hardware.strip()]
    return named or [offer for offer in offers if same_hardware(offer.hardware, hardware)]


def _first_tried(offer: Offer) -> tuple[float, int, str, int, int, bool]:
    """Return the sort key of an offer: its price, then how fast it is expected to run a batch.

    At equal price, configs with speculative decoding come first, then those optimised for
    throughput, then those with a published benchmark.
    """
    made_for = {"throughput": 0, "balanced": 1, "": 1, "latency": 2}.get(offer.optimization, 1)
    return (
        *(offer.price_usd_per_h, offer.gpu_count, offer.hardware),
        *(0 if offer.draft_model else 1, made_for, offer.tokens_per_s is None),
    )


def select_offers(
    offers: Sequence[Offer],
    *,
    model: str,
    hardware: str,
    regions: Sequence[str],
    replicas: int,
    region_option: str = "--region",
) -> Placement:
    """Decide on every offer: the cheapest with free capacity first, or only the named hardware.

    Args:
        hardware: `auto`, or a hardware id in v1 or v2 spelling.
        regions: Allowed regions; empty means all.
        replicas: Replicas that must fit at the start.
        region_option: The option that named the regions, for messages.

    Raises:
        BadRequest: No offer fits the request; the message lists the offers that exist.
        HardwareUnavailable: Offers fit, but none has free capacity.
    """
    if not offers:
        raise BadRequest(
            f"model {model}: no hardware can deploy it; choose a model that `mayfly models` lists"
        )
    listed = ", ".join(offer.hardware for offer in offers)
    wanted = _wanted(offers, hardware)
    if not wanted:
        raise BadRequest(f"--hardware {hardware} does not fit {model}; choose one of: {listed}")
    known = {region.name for offer in offers for region in offer.regions}
    if unknown := [name for name in regions if known and name not in known]:
        raise BadRequest(
            f"{region_option} {unknown[0]} is not offered for {model}"
            f"{nearest(unknown[0], known)}; choose one of: {', '.join(sorted(known))}"
        )
    ranked = sorted(offers, key=_first_tried)
    judged: list[Candidate] = []
    for offer in ranked:
        if offer not in wanted:
            judged.append(Candidate(offer=offer, eligible=False, why=f"not {hardware}"))
        elif offer.has_capacity(regions, replicas):
            first = not any(candidate.eligible for candidate in judged)
            best = "cheapest available" if hardware == "auto" else "requested"
            why = best if first else "next"
            judged.append(Candidate(offer=offer, eligible=True, why=why))
        else:
            where = f" in {', '.join(regions)}" if regions else ""
            judged.append(Candidate(offer=offer, eligible=False, why=f"no capacity{where} now"))
    placement = Placement(candidates=tuple(judged))
    if not placement.eligible:
        where = f" in {', '.join(regions)}" if regions else ""
        raise HardwareUnavailable(
            f"model {model}: no capacity{where} for {replicas} replica(s) on "
            f"{', '.join(offer.hardware for offer in wanted)}; "
            "try again later, or choose another --region or --hardware"
        )
    return placement
