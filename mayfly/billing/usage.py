"""The billed time of an endpoint by phase, and its slot utilisation."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class BilledPhase(StrEnum):
    """What replicas do while they are billed.

    WAITING: nothing has been sent yet. WARMING: requests were sent, none has been answered yet.
    BUSY: rows wait to be sent, so every slot can be filled. TAIL: no row waits any more.
    DRAINING: the stop was requested.
    """

    WAITING = "waiting"
    WARMING = "warming"
    BUSY = "busy"
    TAIL = "tail"
    DRAINING = "draining"


@dataclass(slots=True)
class Usage:
    """Adds up replica-seconds by phase; the time between two samples has the phase of the first.

    Attributes:
        replica_s: Replica-seconds by phase.
        used_s: Replica-seconds weighted by the share of slots that were filled.
        busy_work, busy_rows: Work and rows done in phase BUSY.
        busy_in_flight_s: Requests in flight, integrated over the busy time.
    """

    replica_s: dict[BilledPhase, float] = field(
        default_factory=lambda: dict.fromkeys(BilledPhase, 0.0)
    )
    used_s: float = 0.0
    busy_work: float = 0.0
    busy_rows: int = 0
    busy_in_flight_s: float = 0.0
    _phase: BilledPhase = BilledPhase.WAITING
    _last_s: float | None = None
    _ready: int = 0
    _in_flight: int = 0
    _limit: int = 0
    _work: float = 0.0
    _rows: int = 0

    def sample(
        self,
        now_s: float,
        phase: BilledPhase,
        ready: int,
        *,
        in_flight: int = 0,
        limit: int = 0,
        work: float = 0.0,
        rows: int = 0,
    ) -> None:
        """Record the endpoint's state at `now_s`.

        Args:
            ready: Replicas that are billed.
            in_flight, limit: Requests in flight, and the limit on them.
            work, rows: Work and rows done so far on this endpoint.
        """
        if self._last_s is not None:
            elapsed_s = max(0.0, now_s - self._last_s)
            paid_s = elapsed_s * self._ready
            self.replica_s[self._phase] += paid_s
            self.used_s += paid_s * (min(1.0, self._in_flight / self._limit) if self._limit else 0)
            if self._phase is BilledPhase.BUSY and self._ready:
                self.busy_work += max(0.0, work - self._work)
                self.busy_rows += max(0, rows - self._rows)
                self.busy_in_flight_s += elapsed_s * self._in_flight
        self._last_s, self._phase, self._ready = now_s, phase, ready
        self._in_flight, self._limit, self._work, self._rows = in_flight, limit, work, rows

    def phase_of(self, *, sent: bool, answered: int, left: int, in_flight: int) -> BilledPhase:
        """Return the phase of an endpoint while rows are sent to it.

        Args:
            sent: Whether any request was sent to it.
            answered: Rows that it has answered.
            left: Rows without a response, including those in flight.
        """
        if not sent:
            return BilledPhase.WAITING
        if not answered:
            return BilledPhase.WARMING
        return BilledPhase.BUSY if left > in_flight else BilledPhase.TAIL

    @property
    def work_per_s(self) -> float:
        """Work of one replica per second while busy; 0 if that was too short to be measured."""
        busy_s = self.replica_s[BilledPhase.BUSY]
        return self.busy_work / busy_s if self._is_measured else 0.0

    @property
    def rows_per_s(self) -> float:
        """Rows of one replica per second while busy; 0 if that was too short to be measured."""
        return self.busy_rows / self.replica_s[BilledPhase.BUSY] if self._is_measured else 0.0

    @property
    def in_flight(self) -> float:
        """Requests in flight on one replica while it was busy."""
        busy_s = self.replica_s[BilledPhase.BUSY]
        return self.busy_in_flight_s / busy_s if busy_s else 0.0

    @property
    def _is_measured(self) -> bool:
        # At least one row per slot beyond the first ones, whose responses arrive in a burst.
        return self.replica_s[BilledPhase.BUSY] >= 5 and self.busy_rows >= max(64.0, self.in_flight)

    def as_dict(self, *, usd: float, price_usd_per_h: float) -> dict[str, Any]:
        """Return plain JSON values: dollars by phase, which add up to the bill.

        Args:
            usd: The bill; the part that no phase accounts for is the rounding to minutes.
        """
        by_phase = {
            phase.value: round(seconds * price_usd_per_h / 3600, 6)
            for phase, seconds in self.replica_s.items()
        }
        paid_s = usd / price_usd_per_h * 3600 if price_usd_per_h else 0.0
        return {
            "usd": by_phase | {"rounding": round(max(0.0, usd - sum(by_phase.values())), 6)},
            "replica_s": {p.value: round(seconds, 3) for p, seconds in self.replica_s.items()},
            "utilisation": round(min(1.0, self.used_s / paid_s), 4) if paid_s else None,
            "in_flight_per_replica": round(self.in_flight, 1),
        }


def total_by_phase(records: list[dict[str, Any]]) -> dict[str, float]:
    """Return the dollars by phase, summed over several endpoints."""
    total: dict[str, float] = {}
    for record in records:
        for phase, usd in record["usd"].items():
            total[phase] = round(total.get(phase, 0.0) + usd, 6)
    return total
