"""Hardware in the spelling of either generation, and what v1 says of its room."""

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


def test_an_id_as_it_stands_goes_before_one_that_is_alike() -> None:
    offers = [offer(PCIE, usd=3.0), offer(SXM, usd=5.0)]

    chosen = select_offers(offers, model="m", hardware=SXM, regions=(), replicas=1).chosen

    assert chosen.hardware == SXM


def test_an_id_of_the_other_generation_takes_the_cheapest_that_is_alike() -> None:
    offers = [offer(SXM, usd=5.0), offer(PCIE, usd=3.0)]

    chosen = select_offers(
        offers, model="m", hardware="1xnvidia-h100-80gb", regions=(), replicas=1
    ).chosen

    assert chosen.hardware == PCIE


@pytest.mark.parametrize("word", ["insufficient", "unavailable"])
def test_what_v1_calls_not_free_has_no_room_anywhere(word: str) -> None:
    short = offer(SXM, availability=word)

    assert not short.has_capacity((), 1)
    assert not short.has_capacity(("us-east-1",), 1)
    with pytest.raises(HardwareUnavailable):
        select_offers([short], model="m", hardware="auto", regions=(), replicas=1)


@given(word=st.sampled_from(["available", ""]), replicas=st.integers(1, 99))
def test_what_is_free_or_not_said_may_be_tried(word: str, replicas: int) -> None:
    free = offer(SXM, availability=word)

    assert free.has_capacity((), replicas)
    assert free.has_capacity(("eu-west-1",), replicas)
    assert not free.has_capacity(("mars",), replicas)


@given(left=st.text(max_size=40), right=st.text(max_size=40))
def test_sameness_of_ids_is_the_same_from_both_sides(left: str, right: str) -> None:
    assert same_hardware(left, right) == same_hardware(right, left)
    assert same_hardware(left, left)
