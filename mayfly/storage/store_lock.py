"""The lock of an output on an object store: an object that only one run can create.

`_mayfly/lock.json` is created where there is none, renewed while the run lives and removed at its
end. A run that died leaves it; another may take it over when it has not been renewed for
`TAKE_OVER_S` by the store's own clock, or at once where the work folder shows that its owner, a
process of this very machine, is dead.
"""

import os
import socket
from typing import Any, Self

import orjson

from mayfly.models.errors import BadRequest
from mayfly.storage.object_store import ObjectStore, Stored, Version

LOCK = "_mayfly/lock.json"
CLOCK = "_mayfly/.clock"
"""Written, and removed again, to learn what time it is at the store."""

RENEW_S = 20.0
TAKE_OVER_S = 90.0
"""How long a lock may go without a renewal before another run takes it over."""


class LockLost(Exception):
    """Another run has taken the output over; its words say which."""


class StoreLock:
    """A lock that this process holds.

    Args:
        holder: What it says of its owner; `work` names the work folder.
    """

    def __init__(self, store: ObjectStore, holder: dict[str, Any], version: Version) -> None:
        self._store, self._holder, self._version = store, holder, version

    @classmethod
    def acquire(cls, store: ObjectStore, *, work: str, now: float) -> tuple[Self, dict[str, Any]]:
        """Create the lock, or take over one whose owner is dead.

        Whoever calls this holds the lock of the work folder, so that no other run of this machine
        uses it.

        Args:
            work: The id of the work folder.
            now: Unix time in seconds, for those that the lock keeps out.

        Returns:
            The lock, and what the dead owner's said last; empty where there was none.

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
            raise BadRequest(f"output {store.uri} is being let go by another run; run again")
        earlier, stored = _holder(found[0]), found[1]
        ours = (earlier.get("work"), earlier.get("host")) == (work, holder["host"])
        if not ours and (silent_s := silence_s(store, stored)) < TAKE_OVER_S:
            raise BadRequest(in_use(store.uri, earlier, silent_s))
        version = store.replace(LOCK, data, stored.version)
        if version is None:
            raise BadRequest(f"output {store.uri} was taken by another run just now")
        return cls(store, holder, version), earlier

    def renew(self, pulse: dict[str, Any] | None) -> None:
        """Say that the owner lives, and how the run is getting on.

        Raises:
            LockLost: Another has taken it over.
            StoreError: The store cannot be reached.
        """
        self._holder["pulse"] = pulse
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
    """Return how long ago a lock was renewed, in seconds by the store's clock."""
    store.write(CLOCK, b"")
    try:
        now = store.read(CLOCK)
    finally:
        store.remove(CLOCK)
    return 0.0 if now is None else (now[1].modified - lock.modified).total_seconds()


def in_use(uri: str, holder: dict[str, Any], silent_s: float) -> str:
    """Return why another run may not use an output."""
    said = f"output {uri} is in use by {_who(holder)}, heard of {max(0.0, silent_s):.0f} s ago"
    if silent_s <= 2 * RENEW_S:
        return f"{said}; wait until it has ended, or stop it"
    return (
        f"{said}; if it is dead, run the same command again in {TAKE_OVER_S - silent_s:.0f} s: "
        "the output can then be taken over"
    )


def heartbeat_of(holder: dict[str, Any], silent_s: float) -> dict[str, Any] | None:
    """Return the live numbers that a lock has, with who gave them and how long ago."""
    pulse = holder.get("pulse")
    if not isinstance(pulse, dict):
        return None
    return {
        **pulse,
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
    """Return what the lock of an output says; empty where there is none."""
    found = store.read(LOCK)
    return {} if found is None else _holder(found[0])
