"""Watching over a run while its rows are answered: endpoint, guardian, cost and time."""

import threading
import time

from tasks.core.errors import RunStopped
from tasks.core.rows import NOTHING
from tasks.inference.engine import Engine
from tasks.renting import Renting

OBSERVE_EVERY_S = 10.0
"""How often the API is asked about the endpoint while rows are being answered."""


class Watching(Renting):
    """What a run does while the batch is on its way; a part of `tasks.run.Run`."""

    _engine: Engine | None = None
    _observed_at = 0.0
    _sent_before = NOTHING
    # One for all runs of a process, which do not get in each other's way: it is held for
    # microseconds, so that what an older look saw never replaces what a newer one did.
    _showing = threading.Lock()

    def look_after(self) -> None:
        """Watch engine, endpoint, guardian and limits; called about once a second.

        Raises:
            EndpointLost: The endpoint failed, was stopped or is gone.
            RunStopped: The cost or the time that the user allows is used up.
        """
        now = time.monotonic()
        self.show()
        if now - self._observed_at >= OBSERVE_EVERY_S:
            self._observed_at = now
            self.tenancy.guard()
            if observation := self.tenancy.look():
                self.progress.update(
                    state=observation.word, ready_replicas=observation.ready_replicas or 0
                )
        limits = self.job.limits
        if limits.deadline_s is not None and now - self.began >= limits.deadline_s:
            raise RunStopped(f"stopped at --deadline, {limits.deadline_s:.0f} s after the start")
        # What is committed to: the minute that has begun, and one that the teardown may begin.
        committed_usd = self.tenancy.meter.price_usd_per_h / 60
        if (
            limits.max_cost_usd is not None
            and self.spent_usd() + committed_usd > limits.max_cost_usd
        ):
            raise RunStopped(f"stopped at --max-cost, ${self.spent_usd():.2f} spent")

    def show(self) -> None:
        """Bring the progress up to date with engine and meter; from any thread."""
        with self._showing:
            if self._engine is not None:
                look = self._engine.snapshot()
                tally = self._sent_before + look.tally
                self.progress.update(tally=tally, in_flight=look.in_flight, limit=look.limit)
            self.progress.update(spent_usd=self.spent_usd())

    def spent_usd(self) -> float:
        """Return dollars billed to this run so far, by the meter's assumption."""
        now = time.monotonic()
        return sum(tenancy.meter.spent_usd(now) for tenancy in self.tenancies)
