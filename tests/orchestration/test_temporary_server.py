"""Prefect's temporary server: one that ends too soon is started again, and then told of."""

import subprocess
import sys

import pytest

from mayfly.models.errors import TerminalError
from mayfly.orchestration.temporary_server import STARTS, TemporaryServer


class Doomed(TemporaryServer):
    """A server that says why, and ends."""

    starts = 0

    def _start(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        words = "import sys; sys.exit('database is locked')"
        return subprocess.Popen(
            [sys.executable, "-c", words], stdin=subprocess.PIPE, stderr=self._said
        )


def test_a_server_that_ends_too_soon_is_started_again_and_then_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.sleep", lambda _s: None)
    server = Doomed()

    with server, pytest.raises(TerminalError, match=r"3 times over \(database is locked\)"):
        server.wait()

    assert server.starts == STARTS
