"""A command that waits for more than a few seconds says what it waits for."""

from pathlib import Path

import pytest

from mayfly.cli.main import main
from tests.support.machine import quick_emulator
from together_emulator import FaultRule


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["endpoints", "list"], "connecting to Together ..."),
        (["sweep", "--api", "v2"], "fetching endpoints from Together ..."),
    ],
)
def test_command_at_a_slow_api_says_what_it_waits_for(
    argv: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with quick_emulator() as server:
        server.use_faults(FaultRule(action="delay", path="^/v", delay_s=3.5, nth=(1,)))
        for name, value in {
            "TOGETHER_API_KEY": server.key,
            "TOGETHER_BASE_URL": server.url,
            "MAYFLY_HOME": str(tmp_path),
        }.items():
            monkeypatch.setenv(name, value)

        assert main(argv) == 0

    printed = capsys.readouterr()
    assert printed.err.splitlines()[0] == says
    # A script reads the output.
    assert " ..." not in printed.out
