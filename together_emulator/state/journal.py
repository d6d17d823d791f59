"""The journal of requests, in order, for checking what a client has sent."""

import hashlib
from collections import deque
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, kw_only=True)
class Entry:
    """One request.

    Attributes:
        request_id: The response's `x-request-id`; for inference also its `id`.
        at_s: Arrival time in emulated seconds.
        body: The request's body; empty for inference unless the server keeps bodies.
        digest: Digest of the body, to identify equal requests; "" without a body.
        effect: The status from the handler; None if it did not run.
        status: The status that was sent; None if there is no response (yet).
        fault: The action of the fault that was applied, or None.
    """

    n: int
    request_id: str
    at_s: float
    method: str
    path: str
    query: str
    body: bytes
    digest: str
    effect: int | None = None
    status: int | None = None
    fault: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "n": self.n,
            "request_id": self.request_id,
            "at_s": self.at_s,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "body": self.body.decode(errors="replace"),
            "digest": self.digest,
            "effect": self.effect,
            "status": self.status,
            "fault": self.fault,
        }


class Journal:
    """The newest requests (200 000 of them)."""

    def __init__(self, *, keep_bodies: bool, seed: int) -> None:
        self._seed = seed
        self._keep_bodies = keep_bodies
        self._entries: deque[Entry] = deque(maxlen=200_000)
        self._count = 0

    def open(
        self, *, at_s: float, method: str, path: str, query: str, body: bytes, inference: bool
    ) -> Entry:
        """Record a request when it arrives."""
        self._count += 1
        entry = Entry(
            n=self._count,
            request_id=f"em{self._count:09x}-{self._seed:x}",
            at_s=at_s,
            method=method,
            path=path,
            query=query,
            body=body if self._keep_bodies or not inference else b"",
            digest=hashlib.blake2b(body, digest_size=8).hexdigest() if body else "",
        )
        self._entries.append(entry)
        return entry

    def entries(self) -> list[Entry]:
        """Return all entries, oldest first."""
        return list(self._entries)
