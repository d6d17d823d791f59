"""Tear an endpoint down: stop first, because that ends the billing; then delete; then confirm.

The stop is sent by the known ids before anything is read: if a read fails, only the proof is
missing, not the stop. Every later step observes the state and does what remains. So a teardown can
be repeated, started by one process and finished by another, or done by two at once.
"""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from mayfly.models.endpoint import EndpointRef, Observation, Phase
from mayfly.models.errors import MayflyError, RetryableError, TeardownFailed
from mayfly.models.lease import SETTLE_S
from mayfly.models.teardown import Line, TeardownProof, how_it_ended, unfinished_teardown
from mayfly.together.control_plane import ControlPlane

MAX_PAUSE_S = 10.0
POLL_EVERY_S = 1.0
FIRST_POLL_S = 0.2
"""The first poll comes early: an endpoint that is idle or was never ready stops at once."""


def tear_down(
    plane: ControlPlane,
    ref: EndpointRef,
    *,
    policy: Literal["delete", "stop"],
    line: Line,
    budget_s: float,
    unsettled_s: float | None = None,
    unseen_s: float = 0.0,
    billing_since: float | None = None,
    aim: Literal["delete", "stop"] | None = None,
    stopped: bool = False,
    stop_requested_at: float | None = None,
    on_step: Callable[[str], None] = lambda _text: None,
    now: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    uniform: Callable[[float, float], float] = random.uniform,
) -> TeardownProof:
    """Tear an endpoint down: until no replica is left (`stop`), or it does not exist (`delete`).

    Rejections, lost responses, 429, 5xx and an API restart are retried with jittered pauses; an
    endpoint that does not exist is done.

    Args:
        budget_s: Time limit, in seconds.
        unsettled_s: Seconds from now in which a create may still take effect, so that a 404 is no
            proof. By default none for an endpoint with an id, and otherwise as long as a create
            may take.
        unseen_s: Seconds from now in which the API may not show a new endpoint yet: until it has
            been seen once, a 404 is no proof.
        billing_since: Unix time since which replicas are ready, for the message.
        aim: What the caller finally wants, for the message; by default the policy.
        stopped: Whether an earlier teardown has confirmed that no replica is running.
        stop_requested_at: Unix time of a stop that the API has already accepted.
        on_step: Called with a line for each step done and each new reason for a failure.
        now, clock: Unix time, and a monotonic clock, in seconds.

    Raises:
        TeardownFailed: The time limit is exceeded; the message says what may still be billed, and
            how to end it.
    """
    if unsettled_s is None:
        unsettled_s = 0.0 if ref.endpoint_id else SETTLE_S
    # By the monotonic clock: the time of day may be set, by a day too.
    settled_at, shown_at = clock() + unsettled_s, clock() + unseen_s
    teardown = _Teardown(
        plane, ref, policy, line, on_step, now,
        lambda seen: (settled_at if seen else max(settled_at, shown_at)) - clock(),
    )  # fmt: skip
    teardown.known_stopped = stopped
    if stop_requested_at is not None and not stopped:
        teardown.record_stop(stop_requested_at)
    end, pause_s, polls = clock() + budget_s, POLL_EVERY_S, 0
    while clock() < end:
        try:
            if teardown.advance():
                return teardown.proof
            pause_s = POLL_EVERY_S if polls else FIRST_POLL_S
            polls += 1
        except RetryableError as error:
            teardown.record_failure(error)
            pause_s = min(max(pause_s * 2, error.retry_after_s or 0.0), MAX_PAUSE_S)
        except MayflyError as error:
            # A rejection may be temporary (the state has just changed): poll again.
            teardown.record_failure(error)
            pause_s = min(pause_s * 2, MAX_PAUSE_S)
        sleep(uniform(pause_s / 2, pause_s))
    raise TeardownFailed(
        unfinished_teardown(
            ref,
            bills=teardown.proof.stopped_at is None,
            since=billing_since,
            why=f"teardown did not finish within {budget_s:.0f} s (last: {teardown.last})",
            stop_taken=teardown.proof.stop_requested_at is not None,
            aim=aim or policy,
        )
    )


class _Teardown:
    """A teardown in progress: each `advance` polls once and does the next step."""

    def __init__(
        self,
        plane: ControlPlane,
        ref: EndpointRef,
        policy: Literal["delete", "stop"],
        line: Line,
        on_step: Callable[[str], None],
        now: Callable[[], float],
        unsettled_s: Callable[[bool], float],
    ) -> None:
        self._plane, self._ref, self._policy = plane, ref, policy
        self._on_step, self._now, self._unsettled_s = on_step, now, unsettled_s
        self.proof = TeardownProof(name=ref.name, line=line, started_at=now())
        self.last: object = "no response from the API"
        self._absence_logged = False
        self._stop_sent_at: float | None = None
        self.known_stopped = False
        self._seen = False

    def advance(self) -> bool:
        """Stop what is known, poll, and stop or delete by the state; return whether all is done."""
        if not self.known_stopped:
            try:
                self._stop_known()
            except RetryableError as error:
                self.record_failure(error)
        seen = self._plane.observe(self._ref)
        self.last = seen
        if seen.phase is Phase.GONE:
            return self._absent()
        self._seen = True
        self.proof = replace(
            self.proof, replicas_seen=max(self.proof.replicas_seen, seen.ready_replicas or 0)
        )
        if seen.phase.may_bill:
            self._stop(seen)
            return False
        if self.proof.stopped_at is None:
            self._record(
                f"{self._ref.name} stopped; billing has ended ({seen.short_state})",
                stopped_at=self._now(),
                # A stop whose response was lost may have worked.
                stop_requested_at=self.proof.stop_requested_at or self._stop_sent_at,
            )
        if self._policy == "stop":
            return True
        self._plane.delete(self._ref)
        # The confirmation (404) may be available at once, so poll without a pause.
        return self._plane.observe(self._ref).phase is Phase.GONE and self._absent()

    def record_stop(self, at: float) -> None:
        """Record a stop that was requested earlier."""
        self._record(f"stopping {self._ref.name}", stop_requested_at=at)
        self.known_stopped = True

    def record_failure(self, error: MayflyError) -> None:
        """Record a poll or a step that failed and will be retried."""
        if str(error) != str(self.last):
            self._on_step(f"{error}; retrying")
        self.last = error

    def _stop_known(self) -> None:
        sent_at = self._now()
        if self._plane.stop_known(self._ref):
            self._stop_sent_at = sent_at
            self._record(f"stopping {self._ref.name}", stop_requested_at=self._now())
        self.known_stopped = True

    def _stop(self, seen: Observation) -> None:
        # Wait while it is STOPPING; send a stop without effect again.
        if seen.phase is not Phase.STOPPING or self.proof.stop_requested_at is None:
            self._stop_sent_at = self._stop_sent_at or self._now()
            self._plane.stop(self._ref)
        if self.proof.stop_requested_at is None:
            self._record(
                f"stopping {self._ref.name} ({seen.short_state})", stop_requested_at=self._now()
            )

    def _absent(self) -> bool:
        if (unsettled_s := self._unsettled_s(self._seen)) > 0:
            if not self._absence_logged:
                self._on_step(
                    f"{self._ref.name} does not exist; polling for another "
                    f"{unsettled_s:.0f} s, in case its create still takes effect"
                )
            self._absence_logged = True
            return False
        now = self._now()
        existed = bool(self._ref.endpoint_id) or self._seen
        self._record(
            f"{self._ref.name} was {how_it_ended(gone=True, existed=existed)}",
            existed=existed,
            stopped_at=self.proof.stopped_at or now,
            gone_at=now,
            not_found_read_back=True,
        )
        return True

    def _record(self, text: str, **fields: Any) -> None:
        self._on_step(text)
        self.proof = replace(self.proof, steps=(*self.proof.steps, text), **fields)
