"""The command line in this process, without a terminal."""

import json
from typing import Any

import pytest

from mayfly.cli.main import main
from mayfly.models.endpoint import Api
from tests.support.waiting_lines import without_waiting_lines


class CommandLine:
    """Runs `mayfly` for one generation of the API; `words` begin every command."""

    words: tuple[str, ...] = ()

    def __init__(self, api: Api, capsys: pytest.CaptureFixture[str]) -> None:
        self._api, self._capsys = api, capsys

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run a command; return the exit code and all that was printed."""
        self._capsys.readouterr()
        code = main([*self.words, *arguments, "--api", self._api])
        printed = self._capsys.readouterr()
        return code, printed.out + without_waiting_lines(printed.err)

    def json(self, *arguments: str) -> Any:
        """Run with --json, successfully; return what it printed."""
        code, printed = self.run(*arguments, "--json")
        assert code == 0, printed
        return json.loads(printed)
