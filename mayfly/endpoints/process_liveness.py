"""Whether the owner of a lease is alive, as far as this machine can tell."""

import socket

import psutil

from mayfly.models.lease import Owner

_SAME_START_S = 1.0
"""Start times are read from the kernel's ticks; two reads may differ by as much as a tick."""


def owner_is_alive(owner: Owner) -> bool | None:
    """Whether the owning process runs; None when it is on another machine."""
    if owner.host != socket.gethostname():
        return None
    try:
        process = psutil.Process(owner.pid)
        same = abs(process.create_time() - owner.started_at) < _SAME_START_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
