"""Fixtures: each contract test runs for both generations of the API."""

from collections.abc import Iterator

import pytest

from mayfly.models.endpoint import Api
from tests.support.control_plane import EmulatedService, emulated_service
from together_emulator import Emulator, ManualClock


@pytest.fixture(params=["v2", "v1"])
def api(request: pytest.FixtureRequest) -> Api:
    """A generation of the API."""
    generation: Api = request.param
    return generation


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A server on a manual clock; v1 may still create there."""
    with Emulator(clock=ManualClock(), v1_create=True) as server:
        yield server


@pytest.fixture
def service(api: Api, emulator: Emulator) -> Iterator[EmulatedService]:
    """The control plane of one generation, over the emulator."""
    with emulated_service(api, emulator) as found:
        yield found
