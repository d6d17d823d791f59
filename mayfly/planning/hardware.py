"""Which hardware: offers that fit, cheapest first, and why each is taken or left."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from mayfly.models.errors import BadRequest, HardwareUnavailable

_GPU = re.compile(
    r"^(?P<count>\d+)x[_-]?(?:nvidia[_-])?(?P<gpu>[a-z0-9]+)[_-](?P<memory>\d+)gb", re.I
)
_NOT_FREE = ("insufficient", "unavailable")
"""Source: Together API, `availability.status` of GET /v1/hardware."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionCapacity:
    """Free replicas in a region; `free` is None when the API does not say, `at_least` when it
    gives a lower bound only."""

    name: str
    free: int | None = None
    at_least: bool = False

    def __str__(self) -> str:
        if self.free is None:
            return f"{self.name} ?"
        return f"{self.name} {self.free}{'+' if self.at_least else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One kind of hardware on which a model can be had.

    Attributes:
        hardware: The id in the API's spelling, such as `2xnvidia-h100-80gb`.
        price_usd_per_h: Of one replica (all of its GPUs).
        regions: Where it is sold, with what is free now.
        availability: v1's word for what is free wherever it is: available, insufficient or
            unavailable; "" when the API does not say.
        model_ref, config_ref: What a v2 create needs besides the hardware.
        tokens_per_s, first_token_ms, max_context: The catalogue's benchmark, when it has one;
            whether tokens per second are of a stream or a replica is not said, so it is a first
            guess only.
        token_usd: Dollars per million input and output tokens of the same model where it is also
            sold by the token; None where it is not.
    """

    hardware: str
    gpu_type: str
    gpu_count: int
    gpu_memory_gib: int
    price_usd_per_h: float
    regions: tuple[RegionCapacity, ...] = ()
    availability: str = ""
    model_ref: str = ""
    config_ref: str = ""
    quantization: str = ""
    parallelism: str = ""
    tokens_per_s: float | None = None
    first_token_ms: int | None = None
    max_context: int | None = None
    token_usd: tuple[float, float] | None = None

    def has_room(self, regions: Sequence[str], replicas: int) -> bool:
        """Whether one allowed region may hold that many replicas; unknown counts as yes."""
        if self.availability in _NOT_FREE:
            return False
        if not self.regions:
            return not regions
        return any(
            region.free is None or region.free >= replicas
            for region in self.regions
            if not regions or region.name in regions
        )

    def rooms(self, regions: Sequence[str], replicas: int) -> tuple[str, ...]:
        """Return the allowed regions that may hold that many replicas, the roomiest first."""
        fitting = [
            region
            for region in self.regions
            if (not regions or region.name in regions)
            and (region.free is None or region.free >= replicas)
        ]
        fitting.sort(key=lambda region: (-(region.free or 0), region.name))
        return tuple(region.name for region in fitting)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


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


def same_hardware(left: str, right: str) -> bool:
    """Whether two ids name the same hardware, in either API generation's spelling.

    `2x_nvidia_h100_80gb_sxm` (v1) and `2xnvidia-h100-80gb` (v2) do: count, GPU and memory decide.
    """
    mine, theirs = _GPU.match(left.strip()), _GPU.match(right.strip())
    if mine is None or theirs is None:
        return left.strip().lower() == right.strip().lower()
    return tuple(g.lower() for g in mine.groups()) == tuple(g.lower() for g in theirs.groups())


def _wanted(offers: Sequence[Offer], hardware: str) -> list[Offer]:
    """Return the offers that were asked for; an id as it stands goes before one alike."""
    if hardware == "auto":
        return list(offers)
    named = [offer for offer in offers if offer.hardware == hardware.strip()]
    return named or [offer for offer in offers if same_hardware(offer.hardware, hardware)]


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
    ranked = sorted(
        offers, key=lambda offer: (offer.price_usd_per_h, offer.gpu_count, offer.hardware)
    )
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
