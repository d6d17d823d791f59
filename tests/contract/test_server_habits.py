"""The control plane relies on documented behaviour only: servers that differ elsewhere work."""

import pytest

from mayfly.models.endpoint import Api, EndpointRef, Phase, Replicas
from tests.support.control_plane import MEDIUM, NAME, OTHER_NAME, SMALL, World, repeated, world
from tests.support.habit_server import Habit, HabitServer
from tests.support.server_habits import HABITS
from together_emulator import Emulator


def life(here: World) -> None:
    """Go through all that a run does, and hold what it promises."""
    offers = repeated(lambda: here.plane.offers(SMALL))
    spec = repeated(here.spec)
    ref = repeated(lambda: here.plane.create(spec))
    again = repeated(lambda: here.plane.create(spec))
    other = repeated(lambda: here.plane.create(here.spec(OTHER_NAME)))
    ready = here.await_ready(ref)
    found = repeated(lambda: here.plane.find(NAME))
    listed = repeated(lambda: here.plane.list_endpoints("mayfly-contract-"))
    repeated(lambda: here.plane.scale(ref, Replicas(minimum=2, maximum=2)))
    here.await_ready(ref)
    bills = here.emulator.billing
    for existing in (ref, EndpointRef(api=here.api, name=other.name)):
        here.tear_down(existing)

    assert {offer.gpu_count for offer in offers} == {1}
    assert len(offers) == 3
    assert all(offer.price_usd_per_h > 5 for offer in offers)
    assert again.endpoint_id == ref.endpoint_id
    assert ready.phase is Phase.READY
    assert found is not None
    assert found.endpoint_id == ref.endpoint_id
    assert sorted(each.name for each in listed) == sorted([NAME, OTHER_NAME])
    assert bills >= 2
    assert (here.made(), here.emulator.billing) == (0, 0)


@pytest.mark.parametrize("habit", HABITS.values(), ids=lambda habit: habit.name)
def test_lifecycle_is_the_same_with_server_habit(
    api: Api, emulator: Emulator, habit: Habit
) -> None:
    with (
        HabitServer(emulator.url, habit) as other,
        world(api, emulator, url=other.url) as here,
    ):
        life(here)


def test_hardware_is_found_by_gpu_and_count(
    emulator: Emulator,
) -> None:
    habits = [HABITS[name] for name in ("selectors without hardware", "GPUs of other names")]
    with (
        HabitServer(emulator.url, *habits) as other,
        world("v2", emulator, url=other.url) as here,
    ):
        offers = here.plane.offers(MEDIUM)

    assert {offer.hardware for offer in offers} == {
        "1xnvidia-h200-141gb", "2xnvidia-h100-80gb", "1xnvidia-b200-180gb",
    }  # fmt: skip
