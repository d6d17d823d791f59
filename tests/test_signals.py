"""Signals that raise: not in the middle of an import, and never lost."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mayfly.signals import end_by_signals, exit_code_of, signals_so_far


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that signals this process while it is imported."""
    name = "signals_while_it_is_imported"
    (tmp_path / f"{name}.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def test_signal_during_an_import_is_raised_after_it(importable: str) -> None:
    with pytest.raises(KeyboardInterrupt), end_by_signals() as received:  # noqa: PT012
        assert __import__(importable).whole
        signal.pause()

    assert exit_code_of(received) == 143


def test_signal_whose_exception_was_lost_is_raised_at_the_next_check() -> None:
    with end_by_signals() as received:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            signals_so_far()

    assert exit_code_of(received) == 130


def test_signal_handlers_are_restored_after_the_block() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with end_by_signals():
        assert signal.getsignal(signal.SIGTERM) is not before

    assert signal.getsignal(signal.SIGTERM) is before
