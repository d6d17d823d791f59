"""Whether Prefect's server is there at the end of a run, and what is not waited for when it is not.

Prefect's client tries every call again, for 14 seconds with the three retries of the command line
and for a minute by its default; a run's end makes three such calls. Prefect's record is for people:
a run that is over does not hang on a server that is gone.
"""

import socket
import threading
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.settings import PREFECT_API_URL, get_current_settings

from mayfly.orchestration.temporary_server import answers

PATIENCE_S = 5.0
"""How long a server that refuses connections may take to come back: it may be restarting."""

ANSWER_S = 10.0
"""How long one that takes them may take to answer: it may be busy."""

_AWAY = threading.Event()


def prefect_is_there(*, patience_s: float = PATIENCE_S) -> bool:
    """Look whether the server that is configured answers; one that was missed is not awaited again.

    Whatever it answers is a sign of life, and what cannot be told counts as one.
    """
    url = PREFECT_API_URL.value()
    end = time.monotonic() + (0.0 if _AWAY.is_set() else patience_s)
    while url and not _answers(url):
        if time.monotonic() >= end:
            _AWAY.set()
            return False
        time.sleep(0.5)
    _AWAY.clear()
    return True


def _answers(api_url: str) -> bool:
    try:
        return answers(api_url, ANSWER_S)
    except urllib.error.URLError as error:
        return not isinstance(error.reason, ConnectionError | TimeoutError | socket.gaierror)
    except OSError:
        return False


@contextmanager
def skip_retries_if_server_down(*, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Let nothing that follows the block be tried again when the server is away at its end."""
    try:
        yield
    finally:
        if not prefect_is_there(patience_s=patience_s):
            get_current_settings().client.max_retries = 0
