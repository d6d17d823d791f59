"""Hardware that can be rented, with prices and free capacity."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

_GPU = re.compile(
    r"^(?P<count>\d+)x[_-]?(?:nvidia[_-])?(?P<gpu>[a-z0-9]+)[_-](?P<memory>\d+)gb", re.I
)


_NOT_FREE = ("insufficient", "unavailable")
"""Source: Together API, `availability.status` of GET /v1/hardware."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionCapacity:
    """Free replicas in a region.

    Attributes:
        free: Number of free replicas; None if the API does not say.
        at_least: Whether `free` is a lower bound only.
    """

    name: str
    free: int | None = None
    at_least: bool = False

    def __str__(self) -> str:
        if self.free is None:
            return f"{self.name} ?"
        return f"{self.name} {self.free}{'+' if self.at_least else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Hardware on which a model can be deployed.

    Attributes:
        hardware: The id in the API's spelling, such as `2xnvidia-h100-80gb`.
        price_usd_per_h: Of one replica (all of its GPUs).
        regions: The regions that offer it, with free capacity.
        availability: v1's term for capacity in any region: available, insufficient or
            unavailable; "" if the API does not say.
        model_ref, config_ref: What a v2 create needs besides the hardware.
        tokens_per_s, first_token_ms, max_context: The catalogue's benchmark, if it has one. It
            does not say whether tokens per second are of a stream or a replica, so it is only a
            first estimate.
        draft_model: Path of the model that drafts tokens (speculative decoding); "" without.
        optimization: What the config is optimised for: throughput, balanced or latency; "" if
            unknown.
        token_usd: Dollars per million input and output tokens if the same model is also sold by
            the token, else None.
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
    draft_model: str = ""
    optimization: str = ""

    @property
    def config(self) -> str:
        """The config's id, for `--config`; "" if there are no configs."""
        return self.config_ref.rsplit("/", 1)[-1]

    @property
    def label(self) -> str:
        """The hardware for people; says whether it decodes speculatively."""
        return f"{self.hardware} speculative" if self.draft_model else self.hardware

    def has_capacity(self, regions: Sequence[str], replicas: int) -> bool:
        """Whether one allowed region may have free capacity for `replicas`; unknown is yes."""
        if self.availability in _NOT_FREE:
            return False
        if not self.regions:
            return not regions
        return any(
            region.free is None or region.free >= replicas
            for region in self.regions
            if not regions or region.name in regions
        )

    def regions_with_capacity(self, regions: Sequence[str], replicas: int) -> tuple[str, ...]:
        """Return the allowed regions with capacity for `replicas`, the most capacity first."""
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


def same_hardware(left: str, right: str) -> bool:
    """Whether two ids name the same hardware, in either API generation's spelling.

    Count, GPU and memory are compared: `2x_nvidia_h100_80gb_sxm` (v1) is `2xnvidia-h100-80gb` (v2).
    """
    mine, theirs = _GPU.match(left.strip()), _GPU.match(right.strip())
    if mine is None or theirs is None:
        return left.strip().lower() == right.strip().lower()
    return tuple(g.lower() for g in mine.groups()) == tuple(g.lower() for g in theirs.groups())
