"""The control plane relies on documented behaviour only: servers that differ elsewhere work."""

import pytest

from mayfly.models.endpoint import Api, EndpointRef, Phase, Replicas
from tests.support.control_plane import (
    MEDIUM,
    NAME,
    OTHER_NAME,
    SMALL,
    EmulatedService,
    emulated_service,
    repeated,
)
from tests.support.habit_server import Habit, HabitServer
from tests.support.server_habits import HABITS
from together_emulator import Emulator


def life(service: EmulatedService) -> None:
    """Go through all that a run does, and hold what it promises."""
    offers = repeated(lambda: service.plane.offers(SMALL))
    spec = repeated(service.spec)
    ref = repeated(lambda: service.plane.create(spec))
    again = repeated(lambda: service.plane.create(spec))
    other = repeated(lambda: service.plane.create(service.spec(OTHER_NAME)))
    ready = service.await_ready(ref)
    found = repeated(lambda: service.plane.find(NAME))
    listed = repeated(lambda: service.plane.list_endpoints("mayfly-contract-"))
    repeated(lambda: service.plane.scale(ref, Replicas(minimum=2, maximum=2)))
    service.await_ready(ref)
    bills = service.emulator.billing
    for existing in (ref, EndpointRef(api=service.api, name=other.name)):
        service.tear_down(existing)

    assert {offer.gpu_count for offer in offers} == {1}
    assert len(offers) == 3
    assert all(offer.price_usd_per_h > 5 for offer in offers)
    assert again.endpoint_id == ref.endpoint_id
    assert ready.phase is Phase.READY
    assert found is not None
    assert found.endpoint_id == ref.endpoint_id
    assert sorted(each.name for each in listed) == sorted([NAME, OTHER_NAME])
    assert bills >= 2
    assert (service.made(), service.emulator.billing) == (0, 0)


@pytest.mark.parametrize("habit", HABITS.values(), ids=lambda habit: habit.name)
def test_lifecycle_is_the_same_with_server_habit(
    api: Api, emulator: Emulator, habit: Habit
) -> None:
    with (
        HabitServer(emulator.url, habit) as other,
        emulated_service(api, emulator, url=other.url) as service,
    ):
        life(service)


def test_hardware_is_found_by_gpu_and_count(
    emulator: Emulator,
) -> None:
    habits = [HABITS[name] for name in ("selectors without hardware", "GPUs of other names")]
    with (
        HabitServer(emulator.url, *habits) as other,
        emulated_service("v2", emulator, url=other.url) as service,
    ):
        offers = service.plane.offers(MEDIUM)

    assert {offer.hardware for offer in offers} == {
        "1xnvidia-h200-141gb", "2xnvidia-h100-80gb", "1xnvidia-b200-180gb",
    }  # fmt: skip
