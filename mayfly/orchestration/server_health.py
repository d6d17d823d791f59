"""Check the Prefect server at the end of a run, and skip retries when it is unreachable.

Prefect's client retries every call: for 14 seconds with the three retries of the command line, and
for a minute by default. The end of a run makes three such calls, and must not hang on them:
Prefect's record is only for people.
"""

import socket
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.settings import PREFECT_API_URL, get_current_settings

from mayfly.orchestration.temporary_server import server_answers
from mayfly.runs.handle import RunHandle

RESTART_S = 5.0
"""Seconds for which a server may refuse connections while it restarts."""

RESPONSE_S = 10.0
"""Seconds that a busy server may take to respond."""


def server_is_reachable(handle: RunHandle, *, restart_s: float = RESTART_S) -> bool:
    """Return whether the configured server responds; do not wait again for one that did not.

    Any response counts, and so does an error that leaves it open.

    Args:
        handle: The run that asks, and that remembers a server that did not respond.
    """
    url = PREFECT_API_URL.value()
    end = time.monotonic() + (0.0 if handle.server_unreachable else restart_s)
    while url and not _responds(url):
        if time.monotonic() >= end:
            handle.server_unreachable = True
            return False
        time.sleep(0.5)
    handle.server_unreachable = False
    return True


def _responds(api_url: str) -> bool:
    try:
        return server_answers(api_url, RESPONSE_S)
    except urllib.error.URLError as error:
        return not isinstance(error.reason, ConnectionError | TimeoutError | socket.gaierror)
    except OSError:
        return False


@contextmanager
def skip_retries_if_server_down(
    handle: RunHandle, *, restart_s: float = RESTART_S
) -> Iterator[None]:
    """Disable retries after the block if the server is unreachable at its end.

    They are disabled in the current settings, which are the run's own: see `RunFlow`.
    """
    try:
        yield
    finally:
        if not server_is_reachable(handle, restart_s=restart_s):
            get_current_settings().client.max_retries = 0
