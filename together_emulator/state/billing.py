"""The bill: one line per replica that was ever ready, by started minutes."""

import math
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, kw_only=True)
class LedgerLine:
    """The bill of one replica.

    Attributes:
        started_s, ended_s: Emulated seconds; `ended_s` is None while it is billed.
        price_cents_per_h: Price of this replica.
    """

    endpoint_id: str
    endpoint_name: str
    deployment_id: str
    replica_id: str
    hardware: str
    price_cents_per_h: float
    started_s: float
    ended_s: float | None = None

    def minutes(self, now_s: float) -> int:
        """Return the started minutes until now, or until the end."""
        end_s = now_s if self.ended_s is None else self.ended_s
        # Rounded to a microsecond, the precision of a large float, before rounding up.
        return max(1, math.ceil(round((end_s - self.started_s) / 60, 8)))

    def usd(self, now_s: float) -> float:
        """Return what the replica has cost."""
        return self.minutes(now_s) * self.price_cents_per_h / 60 / 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """The ledger at one time.

    Attributes:
        lines: Lines of all replicas, oldest first.
        billing: Number of replicas that are billed now.
        ready_s: Total seconds in which replicas were ready.
        usd: Total of all lines, in dollars.
    """

    lines: tuple[LedgerLine, ...]
    at_s: float
    billing: int
    minutes: int
    ready_s: float
    usd: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "at_s": self.at_s,
            "billing": self.billing,
            "minutes": self.minutes,
            "ready_s": self.ready_s,
            "usd": self.usd,
            "lines": [
                {
                    "endpointId": line.endpoint_id,
                    "endpointName": line.endpoint_name,
                    "deploymentId": line.deployment_id,
                    "replicaId": line.replica_id,
                    "hardware": line.hardware,
                    "priceCentsPerHour": line.price_cents_per_h,
                    "started_s": line.started_s,
                    "ended_s": line.ended_s,
                    "minutes": line.minutes(self.at_s),
                    "usd": line.usd(self.at_s),
                }
                for line in self.lines
            ],
        }


class Ledger:
    """All lines of one server; ready and draining replicas are billed, nothing else.

    Source: Together API, dedicated endpoint billing (per minute, per ready replica).
    """

    def __init__(self) -> None:
        self._lines: list[LedgerLine] = []
        self._open: dict[str, LedgerLine] = {}

    def open(self, line: LedgerLine) -> None:
        """Start billing a replica (ValueError if it is billed already)."""
        if line.replica_id in self._open:
            raise ValueError(f"replica {line.replica_id} is billed already")
        self._lines.append(line)
        self._open[line.replica_id] = line

    def close(self, replica_id: str, at_s: float) -> None:
        """Stop billing a replica (KeyError if it is not billed)."""
        self._open.pop(replica_id).ended_s = at_s

    @property
    def billing(self) -> int:
        """Number of replicas that are billed now."""
        return len(self._open)

    def statement(self, now_s: float) -> Statement:
        """Return the bill until `now_s`."""
        lines = tuple(self._lines)
        return Statement(
            lines=lines,
            at_s=now_s,
            billing=len(self._open),
            minutes=sum(line.minutes(now_s) for line in lines),
            ready_s=sum(
                (now_s if line.ended_s is None else line.ended_s) - line.started_s for line in lines
            ),
            usd=round(sum(line.usd(now_s) for line in lines), 6),
        )
