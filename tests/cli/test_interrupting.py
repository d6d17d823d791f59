"""Ctrl-C for a whole process group while the run has its own Prefect server."""

import os
import signal
import subprocess
import sys

import pytest

from mayfly.cli.run import code_of
from tests.support.shell import ASKED, PATIENCE_S, Shell, started_by
from tests.support.start_up import interrupted_at
from tests.support.wait import wait_until
from together_emulator import FaultRule


@pytest.mark.soak
def test_ctrl_c_in_a_terminal_ends_run_endpoint_and_server(shell: Shell) -> None:
    # Prefect's own temporary server dies of it first, and its run then hangs for over a minute.
    answered = [call.path for call in shell.emulator.calls()].count("/v1/chat/completions")
    shell.emulator.use_faults(FaultRule(action="delay", path="^/v1/chat/", delay_s=1))
    env = {name: value for name, value in shell.env.items() if name != "PREFECT_API_URL"}
    with (shell.folder / "output.txt").open("wb") as output_file:
        run = subprocess.Popen(
            [sys.executable, "-m", "mayfly.cli.main", "run", *ASKED, "--yes", "--concurrency", "1"],
            cwd=shell.folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output_file,
            stderr=output_file,
            start_new_session=True,
        )
    try:
        wait_until(
            lambda: (
                [call.path for call in shell.emulator.calls() if call.status is not None].count(
                    "/v1/chat/completions"
                )
                > answered
            ),
            "an answered row",
            timeout_s=PATIENCE_S,
        )

        os.killpg(run.pid, signal.SIGINT)

        assert run.wait(PATIENCE_S) == 130, (shell.folder / "output.txt").read_text()
    finally:
        run.kill()
        run.wait()
        shell.emulator.use_faults()
    assert not shell.emulator.has_endpoints
    assert shell("status", "out", "--json").json["open_leases"] == []
    wait_until(lambda: not started_by(shell), "end of all processes")


@pytest.mark.parametrize(
    ("delay_s", "number", "code"),
    [(0.3, signal.SIGTERM, 143), (1.2, signal.SIGINT, 130), (2.5, signal.SIGTERM, 143)],
)
def test_signal_during_start_up_ends_the_run_with_its_code_and_one_line(
    shell: Shell, delay_s: float, number: signal.Signals, code: int
) -> None:
    ended, output = interrupted_at(shell, delay_s, number)

    assert ended == code, output
    assert "Traceback" not in output
    assert "interrupted; " in output.splitlines()[-1]
    wait_until(lambda: not started_by(shell), "the end of what the run has started")
    assert not shell.emulator.has_endpoints


def test_signal_after_the_end_of_a_run_keeps_its_exit_code() -> None:
    def body(ended: list[int]) -> int:
        ended.append(3)
        raise KeyboardInterrupt

    assert code_of(body) == 3


def test_signal_before_the_end_of_a_run_reaches_the_command() -> None:
    def body(_ended: list[int]) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        code_of(body)
