"""Fixtures: each contract test runs for both generations of the API."""

from collections.abc import Iterator

import pytest

from mayfly.models.endpoint import Api
from tests.support.control_plane import World, world
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
def here(api: Api, emulator: Emulator) -> Iterator[World]:
    """The control plane of one generation, over the emulator."""
    with world(api, emulator) as found:
        yield found
