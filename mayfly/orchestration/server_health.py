"""Check the Prefect server at the end of a run, and skip retries when it is unreachable.

Prefect's client retries every call: for 14 seconds with the three retries of the command line, and
for a minute by default. The end of a run makes three such calls, and must not hang on them:
Prefect's record is only for people.
"""

import socket
import threading
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.settings import PREFECT_API_URL, get_current_settings

from mayfly.orchestration.temporary_server import server_answers

RESTART_S = 5.0
"""Seconds for which a server may refuse connections while it restarts."""

RESPONSE_S = 10.0
"""Seconds that a busy server may take to respond."""

_UNREACHABLE = threading.Event()


def server_is_reachable(*, restart_s: float = RESTART_S) -> bool:
    """Return whether the configured server responds; do not wait again for one that did not.

    Any response counts, and so does an error that leaves it open.
    """
    url = PREFECT_API_URL.value()
    end = time.monotonic() + (0.0 if _UNREACHABLE.is_set() else restart_s)
    while url and not _responds(url):
        if time.monotonic() >= end:
            _UNREACHABLE.set()
            return False
        time.sleep(0.5)
    _UNREACHABLE.clear()
    return True


def _responds(api_url: str) -> bool:
    try:
        return server_answers(api_url, RESPONSE_S)
    except urllib.error.URLError as error:
        return not isinstance(error.reason, ConnectionError | TimeoutError | socket.gaierror)
    except OSError:
        return False


@contextmanager
def skip_retries_if_server_down(*, restart_s: float = RESTART_S) -> Iterator[None]:
    """Disable retries after the block if the server is unreachable at its end."""
    try:
        yield
    finally:
        if not server_is_reachable(restart_s=restart_s):
            get_current_settings().client.max_retries = 0
