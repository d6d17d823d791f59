"""Hardware ids in the spelling of either generation, and v1 availability."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.models.errors import HardwareUnavailable
from mayfly.models.offers import Offer, RegionCapacity, same_hardware
from mayfly.planning.hardware import select_offers


def offer(hardware: str, *, availability: str = "", usd: float = 5.0) -> Offer:
    """Return an offer of v1, with the platform's zones."""
    return Offer(
        hardware=hardware,
        gpu_type="h100-80gb",
        gpu_count=1,
        gpu_memory_gib=80,
        price_usd_per_h=usd,
        regions=(RegionCapacity(name="us-east-1"), RegionCapacity(name="eu-west-1")),
        availability=availability,
    )


SXM, PCIE = "1x_nvidia_h100_80gb_sxm", "1x_nvidia_h100_80gb_pcie"


def test_exact_hardware_id_has_priority_over_an_equivalent() -> None:
    offers = [offer(PCIE, usd=3.0), offer(SXM, usd=5.0)]

    chosen = select_offers(offers, model="m", hardware=SXM, regions=(), replicas=1).chosen

    assert chosen.hardware == SXM


def test_hardware_id_of_other_generation_selects_the_cheapest_equivalent() -> None:
    offers = [offer(SXM, usd=5.0), offer(PCIE, usd=3.0)]

    chosen = select_offers(
        offers, model="m", hardware="1xnvidia-h100-80gb", regions=(), replicas=1
    ).chosen

    assert chosen.hardware == PCIE


@pytest.mark.parametrize("word", ["insufficient", "unavailable"])
def test_v1_unavailable_hardware_has_no_capacity(word: str) -> None:
    short = offer(SXM, availability=word)

    assert not short.has_capacity((), 1)
    assert not short.has_capacity(("us-east-1",), 1)
    with pytest.raises(HardwareUnavailable):
        select_offers([short], model="m", hardware="auto", regions=(), replicas=1)


@given(word=st.sampled_from(["available", ""]), replicas=st.integers(1, 99))
def test_v1_available_or_unknown_hardware_may_be_tried(word: str, replicas: int) -> None:
    free = offer(SXM, availability=word)

    assert free.has_capacity((), replicas)
    assert free.has_capacity(("eu-west-1",), replicas)
    assert not free.has_capacity(("mars",), replicas)


@given(left=st.text(max_size=40), right=st.text(max_size=40))
def test_hardware_id_equivalence_is_symmetric(left: str, right: str) -> None:
    assert same_hardware(left, right) == same_hardware(right, left)
    assert same_hardware(left, left)
