"""Who an owner is: by boot, PID namespace, id and ticks; never by the clock or a name alone."""

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


def test_this_process_is_alive_and_itself() -> None:
    assert owner_is_alive(this_process()) is True
    assert is_this_process(this_process())


@LINUX
def test_a_clock_that_was_set_does_not_make_an_owner_look_dead() -> None:
    stepped = replace(this_process(), started_at=this_process().started_at - 5)

    assert owner_is_alive(stepped) is True
    assert is_this_process(stepped)


@LINUX
def test_an_id_that_was_given_again_is_not_the_owner() -> None:
    me = this_process()
    assert me.start_ticks is not None

    assert owner_is_alive(replace(me, start_ticks=me.start_ticks - 1)) is False


def test_a_process_that_has_ended_is_dead() -> None:
    assert owner_is_alive(replace(this_process(), pid=2**22 + 1)) is False


@LINUX
def test_a_process_of_which_only_the_exit_code_is_left_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        ticks = Host().start_ticks(child.pid)
        owner = replace(this_process(), pid=child.pid, start_ticks=ticks)
        assert owner_is_alive(owner) is True
        child.kill()
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            pass

        assert owner_is_alive(owner) is False


@LINUX
def test_another_machine_of_the_same_name_cannot_be_asked_about() -> None:
    assert owner_is_alive(replace(this_process(), boot_id="another")) is None


@LINUX
def test_another_container_of_this_machine_cannot_be_asked_about() -> None:
    assert owner_is_alive(replace(this_process(), pid_namespace="pid:[1]")) is None


def test_without_proc_an_owner_is_known_by_host_id_and_start() -> None:
    me = this_process(WITHOUT_PROC)

    assert me.start_ticks is None
    assert owner_is_alive(me, WITHOUT_PROC) is True
    assert owner_is_alive(replace(me, started_at=me.started_at - 60), WITHOUT_PROC) is False
    assert owner_is_alive(replace(me, pid=2**22 + 1), WITHOUT_PROC) is False
    assert owner_is_alive(replace(me, host="elsewhere"), WITHOUT_PROC) is None
