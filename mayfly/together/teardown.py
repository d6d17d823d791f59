"""Teardown that insists: stop first, because that ends the billing; then delete; then read back.

The stop goes out by the ids that are known, before anything is read: a read that fails costs the
proof, not the stop. Every later step observes what is there and does what is still to do, so it may
be repeated, begun by one process and finished by another, or done by two at once.
"""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from mayfly.models.endpoint import EndpointRef, Observation, Phase
from mayfly.models.errors import MayflyError, RetryableError, TeardownFailed
from mayfly.models.lease import SETTLE_S
from mayfly.models.teardown import Line, TeardownProof, unfinished_teardown
from mayfly.together.control_plane import ControlPlane

MAX_PAUSE_S = 10.0
POLL_EVERY_S = 1.0
FIRST_POLL_S = 0.2
"""What never served, or has little in flight, stops at once."""


def tear_down(
    plane: ControlPlane,
    ref: EndpointRef,
    *,
    policy: Literal["delete", "stop"],
    line: Line,
    budget_s: float,
    settled_at: float | None = None,
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
    """End an endpoint: no replica is left (`stop`), or nothing at all is (`delete`).

    Refusals, lost answers, 429, 5xx and a restarted API are ridden out with jittered pauses; what
    is already gone is done.

    Args:
        budget_s: How long to insist, in seconds.
        settled_at: When it proves something that the endpoint is not there (Unix time): a create
            may still be on its way to take effect. Unset, at once for an endpoint with an id, and
            for others after as long as a create may take from now.
        billing_since: Since when replicas have been ready (Unix time), for the message.
        aim: What is to become of it in the end, for the message too; unset, the policy.
        stopped: Whether an earlier teardown has read back that nothing bills.
        stop_requested_at: When a stop was asked for already, and taken (Unix time).
        on_step: Is told each thing done, and each new reason why something was not.
        now, clock: Unix time, and a clock that only goes forward, in seconds.

    Raises:
        TeardownFailed: The budget is used up: what may still bill, and how to end it.
    """
    if settled_at is None:
        settled_at = 0.0 if ref.endpoint_id else now() + SETTLE_S
    ending = _Ending(plane, ref, policy, line, on_step, now, settled_at)
    ending.known_stopped = stopped
    if stop_requested_at is not None and not stopped:
        ending.asked(stop_requested_at)
    end, pause_s, looks = clock() + budget_s, POLL_EVERY_S, 0
    while clock() < end:
        try:
            if ending.advance():
                return ending.proof
            pause_s = POLL_EVERY_S if looks else FIRST_POLL_S
            looks += 1
        except RetryableError as error:
            ending.missed(error)
            pause_s = min(max(pause_s * 2, error.retry_after_s or 0.0), MAX_PAUSE_S)
        except MayflyError as error:
            # A refusal may be of the moment (a state that has just changed): look again.
            ending.missed(error)
            pause_s = min(pause_s * 2, MAX_PAUSE_S)
        sleep(uniform(pause_s / 2, pause_s))
    raise TeardownFailed(
        unfinished_teardown(
            ref,
            bills=ending.proof.stopped_at is None,
            since=billing_since,
            why=f"{budget_s:.0f} s of teardown did not end it (last: {ending.last})",
            stop_taken=ending.proof.stop_requested_at is not None,
            aim=aim or policy,
        )
    )


class _Ending:
    """A teardown under way: each `advance` looks once and does the one thing that is next."""

    def __init__(
        self,
        plane: ControlPlane,
        ref: EndpointRef,
        policy: Literal["delete", "stop"],
        line: Line,
        on_step: Callable[[str], None],
        now: Callable[[], float],
        settled_at: float,
    ) -> None:
        self._plane, self._ref, self._policy = plane, ref, policy
        self._on_step, self._now, self._settled_at = on_step, now, settled_at
        self.proof = TeardownProof(name=ref.name, line=line, started_at=now())
        self.last: object = "nothing, the API did not answer"
        self._looked_in_vain = False
        self._asked_at: float | None = None
        self.known_stopped = False

    def advance(self) -> bool:
        """Stop what is known; observe, and stop or delete as the state demands; whether all is
        done."""
        if not self.known_stopped:
            try:
                self._stop_known()
            except RetryableError as error:
                self.missed(error)
        seen = self._plane.observe(self._ref)
        self.last = seen
        if seen.phase is Phase.GONE:
            return self._absent()
        self.proof = replace(
            self.proof, replicas_seen=max(self.proof.replicas_seen, seen.ready_replicas or 0)
        )
        if seen.phase.may_bill:
            self._stop(seen)
            return False
        if self.proof.stopped_at is None:
            self._did(
                f"{self._ref.name} stopped; billing has ended ({seen.short_state})",
                stopped_at=self._now(),
                # It may be a stop whose answer was lost that has worked.
                stop_requested_at=self.proof.stop_requested_at or self._asked_at,
            )
        if self._policy == "stop":
            return True
        self._plane.delete(self._ref)
        # The 404 that is the proof may follow at once: no pause is worth taking before it.
        return self._plane.observe(self._ref).phase is Phase.GONE and self._absent()

    def asked(self, at: float) -> None:
        """Take note of a stop that was asked for before."""
        self._did(f"stopping {self._ref.name}", stop_requested_at=at)
        self.known_stopped = True

    def missed(self, error: MayflyError) -> None:
        """Take note of a look or a step that failed and is to be repeated."""
        if str(error) != str(self.last):
            self._on_step(f"{error}; trying again")
        self.last = error

    def _stop_known(self) -> None:
        asked_at = self._now()
        if self._plane.stop_known(self._ref):
            self._asked_at = asked_at
            self._did(f"stopping {self._ref.name}", stop_requested_at=self._now())
        self.known_stopped = True

    def _stop(self, seen: Observation) -> None:
        # STOPPING is waited out; a stop that has not taken yet is asked for again.
        if seen.phase is not Phase.STOPPING or self.proof.stop_requested_at is None:
            self._asked_at = self._asked_at or self._now()
            self._plane.stop(self._ref)
        if self.proof.stop_requested_at is None:
            self._did(
                f"stopping {self._ref.name} ({seen.short_state})", stop_requested_at=self._now()
            )

    def _absent(self) -> bool:
        now = self._now()
        if now < self._settled_at:
            if not self._looked_in_vain:
                self._on_step(
                    f"there is no {self._ref.name}; looking on for "
                    f"{self._settled_at - now:.0f} s, in case its create is still on its way"
                )
            self._looked_in_vain = True
            return False
        self._did(
            f"{self._ref.name} deleted (confirmed: 404)",
            stopped_at=self.proof.stopped_at or now,
            gone_at=now,
            not_found_read_back=True,
        )
        return True

    def _did(self, text: str, **facts: Any) -> None:
        self._on_step(text)
        self.proof = replace(self.proof, steps=(*self.proof.steps, text), **facts)
