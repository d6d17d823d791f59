"""What an endpoint has cost: replica-minutes from what was observed, and dollars from those.

Assumption, since the API's page does not say how minutes are rounded: every started minute of
every ready replica is billed, from READY until it is no longer ready. Provisioning, cold start
and STOPPED are free. Source: Together API, dedicated endpoint billing.
"""

import math
from dataclasses import dataclass, field


@dataclass(slots=True)
class Meter:
    """Adds up replica-seconds from looks at an endpoint.

    Between two looks the larger number of replicas counts, so that the figure errs upwards.

    Attributes:
        price_usd_per_h: Of one replica.
        replica_s: Replica-seconds so far.
    """

    price_usd_per_h: float
    replica_s: float = 0.0
    _last_s: float | None = field(default=None, repr=False)
    _ready: int = field(default=0, repr=False)

    def look(self, now_s: float, ready_replicas: int) -> None:
        """Take note of `ready_replicas` at `now_s` (any clock that only goes forward, seconds)."""
        if self._last_s is not None:
            elapsed_s = max(0.0, now_s - self._last_s)
            self.replica_s += elapsed_s * max(self._ready, ready_replicas)
        self._last_s, self._ready = now_s, ready_replicas

    def spent_usd(self, now_s: float) -> float:
        """Return dollars billed by `now_s` if nothing changed since the last look."""
        running_s = 0.0 if self._last_s is None else max(0.0, now_s - self._last_s) * self._ready
        return cost_usd(self.replica_s + running_s, self.price_usd_per_h)

    @property
    def replica_minutes(self) -> int:
        """Started minutes, summed over replicas."""
        return billed_minutes(self.replica_s)


def billed_minutes(replica_s: float) -> int:
    """Return started minutes for so many replica-seconds."""
    return math.ceil(replica_s / 60 - 1e-9)


def cost_usd(replica_s: float, price_usd_per_h: float) -> float:
    """Return dollars for so many replica-seconds, by started minutes."""
    return billed_minutes(replica_s) * price_usd_per_h / 60
