"""The lock of an output on an object store: an object that only one run can create.

`_mayfly/lock.json` is created if it does not exist, renewed during the run and removed at its end.
If a run dies, another may take the lock over once it has not been renewed for `TAKE_OVER_S` by the
store's clock, or at once if the work folder shows that its owner, a process of this machine, is
dead.
"""

import os
import socket
from typing import Any, Self

import orjson

from mayfly.models.errors import BadRequest
from mayfly.storage.object_store import ObjectStore, Stored, Version

LOCK = "_mayfly/lock.json"
CLOCK = "_mayfly/.clock"
"""Object that is written and removed to read the store's clock."""

RENEW_S = 20.0
TAKE_OVER_S = 90.0
"""Time without a renewal after which another run may take over a lock."""


class LockLost(Exception):
    """Another run has taken over the output; the message says which."""


class StoreLock:
    """A lock that this process holds.

    Args:
        holder: Description of the owner; `work` is the id of the work folder.
    """

    def __init__(self, store: ObjectStore, holder: dict[str, Any], version: Version) -> None:
        self._store, self._holder, self._version = store, holder, version

    @classmethod
    def acquire(cls, store: ObjectStore, *, work: str, now: float) -> tuple[Self, dict[str, Any]]:
        """Create the lock, or take it over from a dead owner.

        The caller must hold the lock of the work folder, so that no other run of this machine uses
        it.

        Args:
            work: The id of the work folder.
            now: Unix time in seconds, shown to others that find the output locked.

        Returns:
            The lock, and the description of the dead owner; empty if there was none.

        Raises:
            BadRequest: Another run is using the output.
            StoreError: The store cannot be reached, or refuses the write.
        """
        holder = {"work": work, "host": socket.gethostname(), "pid": os.getpid(), "since": now}
        data = orjson.dumps(holder)
        if (version := store.create(LOCK, data)) is not None:
            return cls(store, holder, version), {}
        found = store.read(LOCK)
        if found is None:
            raise BadRequest(f"output {store.uri} is being released by another run; run again")
        earlier, stored = _holder(found[0]), found[1]
        ours = (earlier.get("work"), earlier.get("host")) == (work, holder["host"])
        if not ours and (silent_s := silence_s(store, stored)) < TAKE_OVER_S:
            raise BadRequest(in_use(store.uri, earlier, silent_s))
        version = store.replace(LOCK, data, stored.version)
        if version is None:
            raise BadRequest(f"output {store.uri} was taken by another run just now")
        return cls(store, holder, version), earlier

    def renew(self, heartbeat: dict[str, Any] | None) -> None:
        """Renew the lock, and publish the run's live numbers.

        Raises:
            LockLost: Another has taken it over.
            StoreError: The store cannot be reached.
        """
        self._holder["heartbeat"] = heartbeat
        version = self._store.replace(LOCK, orjson.dumps(self._holder), self._version)
        if version is None:
            found = self._store.read(LOCK)
            other = _holder(found[0]) if found is not None else {}
            raise LockLost(
                f"output {self._store.uri} was taken over by {_who(other)}, because this run could "
                f"not renew its lock for {TAKE_OVER_S:.0f} s"
            )
        self._version = version

    def release(self) -> None:
        """Remove the lock (StoreError)."""
        self._store.remove(LOCK)


def silence_s(store: ObjectStore, lock: Stored) -> float:
    """Return the time since a lock was renewed, in seconds by the store's clock."""
    store.write(CLOCK, b"")
    try:
        now = store.read(CLOCK)
    finally:
        store.remove(CLOCK)
    return 0.0 if now is None else (now[1].modified - lock.modified).total_seconds()


def in_use(uri: str, holder: dict[str, Any], silent_s: float) -> str:
    """Return the message about an output that another run is using."""
    lock = (
        f"output {uri} is in use by {_who(holder)}, last heartbeat {max(0.0, silent_s):.0f} s ago"
    )
    if silent_s <= 2 * RENEW_S:
        return f"{lock}; wait until it has ended, or stop it"
    return (
        f"{lock}; if it is dead, run the same command again in {TAKE_OVER_S - silent_s:.0f} s: "
        "the output can then be taken over"
    )


def heartbeat_of(holder: dict[str, Any], silent_s: float) -> dict[str, Any] | None:
    """Return the live numbers in a lock, with their owner and age."""
    heartbeat = holder.get("heartbeat")
    if not isinstance(heartbeat, dict):
        return None
    return {
        **heartbeat,
        "heard_s_ago": round(max(0.0, silent_s), 1),
        "by": _who(holder),
        "every_s": RENEW_S,
    }


def _holder(data: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _who(holder: dict[str, Any]) -> str:
    if "pid" not in holder:
        return "another run"
    return f"process {holder['pid']} on {holder.get('host')}"


def read_holder(store: ObjectStore) -> dict[str, Any]:
    """Return the description of the owner in an output's lock; empty if there is none."""
    found = store.read(LOCK)
    return {} if found is None else _holder(found[0])
