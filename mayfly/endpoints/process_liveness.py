"""Determine whether the owner of a lease is alive, as far as this machine can tell.

A process is identified by the boot id of its kernel, its PID namespace, its process id and its
start time in kernel ticks. None of these depends on the wall clock, and no two machines or
containers share them, whatever their host names. An owner on another machine or in another
container cannot be checked; only the heartbeat of its lease shows that it is alive.
"""

import getpass
import os
import socket
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from mayfly.models.lease import Owner
from mayfly.system import SYSTEM

_SAME_START_S = 1.0
"""Tolerance for start times from the wall clock, which may differ by a kernel tick."""

_ZOMBIE = ("Z", "X")
"""Source: proc_pid_stat(5), field 3."""


@dataclass(frozen=True, slots=True)
class Host:
    """Identifies processes on this machine.

    Args:
        proc: The process file system; where it does not exist (macOS), processes are identified
            by host name and by the start time that the system reports.
    """

    proc: Path = SYSTEM.proc

    def name(self) -> str:
        """Return the host's name."""
        return socket.gethostname()

    def boot_id(self) -> str:
        """Return the boot id of the kernel; "" when unknown."""
        try:
            return (self.proc / "sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return _boot_session()

    def pid_namespace(self) -> str:
        """Return the PID namespace; "" when unknown."""
        try:
            return str((self.proc / "self/ns/pid").readlink())
        except OSError:
            return ""

    def start_ticks(self, pid: int) -> int | None:
        """Return when a process started, in ticks since the boot; None when unknown.

        Raises:
            ProcessLookupError: It does not exist, or is a zombie.
        """
        try:
            stat = (self.proc / str(pid) / "stat").read_text(errors="replace")
        except FileNotFoundError:
            if (self.proc / "self/stat").exists():
                raise ProcessLookupError(pid) from None
            return None
        except OSError:
            return None
        # The command name may hold blanks and brackets: count fields after the last bracket.
        fields = stat.rpartition(")")[2].split()
        if fields[0] in _ZOMBIE:
            raise ProcessLookupError(pid)
        return int(fields[19])


@cache
def _boot_session() -> str:
    """Return macOS's id of the running boot; "" elsewhere."""
    try:
        found = subprocess.run(
            ["sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, check=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.decode(errors="replace").strip()


def this_process(host: Host | None = None) -> Owner:
    """Return this process as the owner of what it creates."""
    host = host or Host()
    pid = os.getpid()
    return Owner(
        host=host.name(),
        pid=pid,
        started_at=psutil.Process().create_time(),
        user=_user(),
        boot_id=host.boot_id(),
        pid_namespace=host.pid_namespace(),
        start_ticks=host.start_ticks(pid),
    )


def is_this_process(owner: Owner, host: Host | None = None) -> bool:
    """Return whether an owner is the calling process."""
    return owner.pid == os.getpid() and owner_is_alive(owner, host) is True


def owner_is_alive(owner: Owner, host: Host | None = None) -> bool | None:
    """Return whether the owning process runs; None when it cannot be checked from here."""
    host = host or Host()
    if owner.boot_id and (boot_id := host.boot_id()):
        # Another boot id may be another machine of the same name, which cannot be checked.
        if (owner.boot_id, owner.pid_namespace) != (boot_id, host.pid_namespace()):
            return None
    elif owner.host != host.name():
        return None
    try:
        ticks = host.start_ticks(owner.pid)
        if ticks is not None and owner.start_ticks is not None:
            return ticks == owner.start_ticks
        process = psutil.Process(owner.pid)
        same = abs(process.create_time() - owner.started_at) < _SAME_START_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # A container may run under a user id without a name.
        return str(os.getuid())
