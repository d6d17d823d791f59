"""Calls to Prefect at the end of a run while its server is away."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from prefect import flow
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    Settings,
    get_current_settings,
    temporary_settings,
)

from mayfly.orchestration.run_handles import with_handles
from mayfly.orchestration.server_health import server_is_reachable, skip_retries_if_server_down
from mayfly.runs.handle import RunHandle
from together_emulator import Emulator


@contextmanager
def configured(url: str) -> Iterator[Settings]:
    """Have Prefect's API at a URL, and three retries, for as long as the block lasts."""
    with temporary_settings({PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 3}):
        yield get_current_settings()


def nowhere() -> str:
    """Return a URL that refuses connections."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/api"


def test_calls_to_an_absent_server_are_not_retried() -> None:
    with configured(nowhere()) as settings:
        with skip_retries_if_server_down(RunHandle(), restart_s=0):
            pass

        assert settings.client.max_retries == 0


def test_calls_to_an_answering_server_are_retried() -> None:
    # It knows no such path, and says so.
    with Emulator() as server, configured(f"{server.url}/api") as settings:
        with skip_retries_if_server_down(RunHandle(), restart_s=0):
            pass

        assert settings.client.max_retries == 3


def test_server_that_returned_is_present_again() -> None:
    handle = RunHandle()
    with configured(nowhere()):
        assert not server_is_reachable(handle, restart_s=0)
    assert handle.server_unreachable
    with Emulator() as server, configured(f"{server.url}/api"):
        assert server_is_reachable(handle, restart_s=0)
    assert not handle.server_unreachable


def test_run_whose_server_was_away_leaves_the_settings_of_the_next_run(
    prefect_api_url: str,
) -> None:
    @with_handles
    @flow
    def ends_without_retries() -> int:
        get_current_settings().client.max_retries = 0
        return get_current_settings().client.max_retries

    with configured(prefect_api_url) as settings:
        assert ends_without_retries() == 0
        assert settings.client.max_retries == 3
        assert get_current_settings() is settings
