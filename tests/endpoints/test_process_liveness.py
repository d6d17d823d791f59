"""Identity of an owner process: boot, PID namespace, pid and start ticks."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mayfly.endpoints.process_liveness import (
    Host,
    is_this_process,
    owner_is_alive,
    this_process,
)

LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
WITHOUT_PROC = Host(proc=Path("/nowhere"))
"""What macOS has: no /proc."""


def test_current_process_is_alive() -> None:
    assert owner_is_alive(this_process()) is True
    assert is_this_process(this_process())


@LINUX
def test_changed_system_clock_keeps_owner_alive() -> None:
    stepped = replace(this_process(), started_at=this_process().started_at - 5)

    assert owner_is_alive(stepped) is True
    assert is_this_process(stepped)


@LINUX
def test_reused_pid_is_not_the_owner() -> None:
    me = this_process()
    assert me.start_ticks is not None

    assert owner_is_alive(replace(me, start_ticks=me.start_ticks - 1)) is False


def test_ended_process_is_dead() -> None:
    assert owner_is_alive(replace(this_process(), pid=2**22 + 1)) is False


@LINUX
def test_zombie_process_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        ticks = Host().start_ticks(child.pid)
        owner = replace(this_process(), pid=child.pid, start_ticks=ticks)
        assert owner_is_alive(owner) is True
        child.kill()
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            pass

        assert owner_is_alive(owner) is False


@LINUX
def test_owner_on_another_machine_is_unknown() -> None:
    assert owner_is_alive(replace(this_process(), boot_id="another")) is None


@LINUX
def test_owner_in_another_container_is_unknown() -> None:
    assert owner_is_alive(replace(this_process(), pid_namespace="pid:[1]")) is None


def test_owner_without_proc_is_known_by_host_pid_and_start() -> None:
    me = this_process(WITHOUT_PROC)

    assert me.start_ticks is None
    assert owner_is_alive(me, WITHOUT_PROC) is True
    assert owner_is_alive(replace(me, started_at=me.started_at - 60), WITHOUT_PROC) is False
    assert owner_is_alive(replace(me, pid=2**22 + 1), WITHOUT_PROC) is False
    assert owner_is_alive(replace(me, host="elsewhere"), WITHOUT_PROC) is None
