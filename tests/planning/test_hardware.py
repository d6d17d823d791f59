"""Choice of hardware."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.models.errors import BadRequest, HardwareUnavailable
from mayfly.models.offers import Offer, RegionCapacity, same_hardware
from mayfly.planning.hardware import select_offers


def offer(hardware: str, usd: float, *regions: RegionCapacity) -> Offer:
    """Return an offer of which only price and capacity matter."""
    return Offer(
        hardware=hardware,
        gpu_type="h100",
        gpu_count=int(hardware.split("x", maxsplit=1)[0]),
        gpu_memory_gib=80,
        price_usd_per_h=usd,
        regions=regions,
    )


EAST, WEST = RegionCapacity(name="east", free=2), RegionCapacity(name="west", free=0)


def test_cheapest_hardware_with_capacity_is_chosen() -> None:
    offers = [offer("4xnvidia-h100-80gb", 22.0, EAST), offer("2xnvidia-h100-80gb", 11.0, EAST)]

    placement = select_offers(offers, model="m", hardware="auto", regions=(), replicas=1)

    assert placement.chosen.hardware == "2xnvidia-h100-80gb"
    assert [o.hardware for o in placement.eligible] == ["2xnvidia-h100-80gb", "4xnvidia-h100-80gb"]


def test_hardware_without_capacity_is_skipped_with_a_reason() -> None:
    offers = [offer("1xnvidia-h100-80gb", 5.0, WEST), offer("2xnvidia-h100-80gb", 11.0, EAST)]

    placement = select_offers(offers, model="m", hardware="auto", regions=(), replicas=1)

    assert placement.chosen.hardware == "2xnvidia-h100-80gb"
    assert placement.candidates[0].why == "no capacity now"


@pytest.mark.parametrize(
    "spelling", ["2xnvidia-h100-80gb", "2x_nvidia_h100_80gb_sxm", "2X_NVIDIA_H100_80GB_SXM"]
)
def test_hardware_is_accepted_in_both_spellings(spelling: str) -> None:
    offers = [offer("1xnvidia-h100-80gb", 5.0, EAST), offer("2xnvidia-h100-80gb", 11.0, EAST)]

    placement = select_offers(offers, model="m", hardware=spelling, regions=(), replicas=1)

    assert placement.chosen.hardware == "2xnvidia-h100-80gb"


def test_unsuitable_hardware_is_refused_with_a_list() -> None:
    with pytest.raises(BadRequest, match="does not fit m; choose one of: 1xnvidia-h100-80gb"):
        select_offers(
            [offer("1xnvidia-h100-80gb", 5.0, EAST)],
            model="m", hardware="8xnvidia-b200-180gb", regions=(), replicas=1,
        )  # fmt: skip


def test_unknown_region_is_refused_with_a_list() -> None:
    with pytest.raises(BadRequest, match=r"region mars .* choose one of: east"):
        select_offers(
            [offer("1xnvidia-h100-80gb", 5.0, EAST)],
            model="m", hardware="auto", regions=("mars",), replicas=1,
        )  # fmt: skip


def test_missing_capacity_is_no_bad_request() -> None:
    with pytest.raises(HardwareUnavailable, match="no capacity in east for 3"):
        select_offers(
            [offer("1xnvidia-h100-80gb", 5.0, EAST)],
            model="m", hardware="auto", regions=("east",), replicas=3,
        )  # fmt: skip


def test_unknown_headroom_counts_as_capacity() -> None:
    offers = [offer("1xnvidia-h100-80gb", 5.0, RegionCapacity(name="east"))]

    assert (
        select_offers(offers, model="m", hardware="auto", regions=(), replicas=9).chosen
        == offers[0]
    )


@given(
    count=st.integers(1, 64),
    gpu=st.sampled_from(["h100", "h200", "b200"]),
    memory=st.integers(40, 300),
)
def test_hardware_spellings_are_equivalent(count: int, gpu: str, memory: int) -> None:
    v2 = f"{count}xnvidia-{gpu}-{memory}gb"

    assert same_hardware(f"{count}x_nvidia_{gpu}_{memory}gb_sxm", v2)
    assert not same_hardware(f"{count + 1}x_nvidia_{gpu}_{memory}gb_sxm", v2)
