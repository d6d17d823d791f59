"""Fixtures: an emulator on a manual clock, and clients of it."""

import ssl
from collections.abc import Iterator

import httpx
import pytest
from together import Together

from tests.support.emulator_client import EmulatorClient
from together_emulator import Emulator, ManualClock


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A server on a manual clock."""
    with Emulator(clock=ManualClock()) as server:
        yield server


TLS = ssl.create_default_context()
"""Unused on loopback, but every client makes one, which takes longer than most tests."""


@pytest.fixture
def http(emulator: Emulator) -> Iterator[httpx.Client]:
    """A client that knows the address and the key."""
    headers = {"authorization": f"Bearer {emulator.key}"}
    with httpx.Client(base_url=emulator.url, headers=headers, timeout=20, verify=TLS) as client:
        yield client


@pytest.fixture
def api(emulator: Emulator, http: httpx.Client) -> EmulatorClient:
    """The steps that tests take."""
    return EmulatorClient(emulator, http)


@pytest.fixture
def together(emulator: Emulator) -> Iterator[Together]:
    """The official SDK, which refuses every answer that is not of its schema."""
    with Together(
        base_url=emulator.url,
        api_key=emulator.key,
        project_id=emulator.project_id,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client
