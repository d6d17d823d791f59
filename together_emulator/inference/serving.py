"""Emulate the latency of answers: replicas, their requests in flight, and the queue."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from together_emulator.http.errors import ApiError
from together_emulator.inference.affinity import Sticky, pick_replica
from together_emulator.state.lifecycle import Lifecycle
from together_emulator.state.store import Deployment, Replica, Sample, Step, Store

_CLIENT_GONE = 499
_PREFILL_PER_DECODE = 60.0
"""Ratio of prefill speed to the decoding speed of one stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The tokens of one request; `cached_tokens` of the prompt need no prefill."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


def first_token_s(deployment: Deployment, work: Work, in_flight: int) -> float:
    """Return the time to the first token, in emulated seconds."""
    profile = deployment.config.profile
    read = work.prompt_tokens - work.cached_tokens
    slower = 1 + (in_flight - 1) / profile.saturation
    return slower * (profile.served_ttft_s + read / (profile.served_tps * _PREFILL_PER_DECODE))


def service_s(deployment: Deployment, work: Work, in_flight: int) -> float:
    """Return the service time on a replica with `in_flight` requests, including this one.

    A single stream runs at the profile's speed; with n in flight each runs at
    1 / (1 + (n - 1) / saturation) of it, so the replica's total approaches saturation x speed.
    """
    profile = deployment.config.profile
    slower = 1 + (in_flight - 1) / profile.saturation
    first_s = first_token_s(deployment, work, in_flight)
    return first_s + slower * work.completion_tokens / (profile.served_tps * deployment.speed)


class Serving:
    """Assigns requests to replicas, queues them, and waits for their emulated service time."""

    def __init__(self, store: Store, lifecycle: Lifecycle) -> None:
        self._store = store
        lifecycle.on_replicas = self._give_out

    async def admit(self, deployment: Deployment, model: str, sticky: Sticky) -> Replica:
        """Wait for a slot on a replica, to be released with `leave`. A rejection is a sample too.

        Args:
            sticky: Determines the replica, while it has a free slot.

        Raises:
            ApiError: Overloaded (the queue is full), or no replica serves any more.
        """
        deployment.last_request_s = self._store.now_s
        try:
            return await self._admit(deployment, model, sticky)
        except ApiError as error:
            self.note(deployment, error.status, Work(), 0.0, 0.0)
            raise

    async def _admit(self, deployment: Deployment, model: str, sticky: Sticky) -> Replica:
        replica = pick_replica(deployment, self._slots(deployment), sticky)
        if replica is not None:
            replica.in_flight += 1
            return replica
        settings = self._store.settings
        if len(deployment.waiting) >= settings.queue_per_replica * max(1, deployment.ready):
            raise _overloaded(settings.overload, model)
        turn: asyncio.Future[Replica | None] = asyncio.get_running_loop().create_future()
        deployment.waiting.append(turn)
        try:
            given = await turn
        except asyncio.CancelledError:
            # The client disconnected just when it got the slot.
            if turn.done() and not turn.cancelled() and (late := turn.result()) is not None:
                self.leave(deployment, late)
            raise
        if given is None:
            raise ApiError(
                503,
                f"{model} stopped while the request was waiting",
                code="service_unavailable",
                kind="service_unavailable",
            )
        return given

    def _slots(self, deployment: Deployment) -> int:
        """Return the concurrent requests per replica; 0 for no limit."""
        limits = [n for n in (deployment.concurrency, self._store.settings.slots) if n]
        return min(limits, default=0)

    def note(
        self, deployment: Deployment, status: int, work: Work, first_s: float, latency_s: float
    ) -> None:
        """Record a request for the analytics."""
        deployment.served += status == 200
        deployment.samples.append(
            Sample(
                at_s=self._store.now_s,
                status=status,
                prompt_tokens=work.prompt_tokens,
                completion_tokens=work.completion_tokens,
                first_s=first_s,
                latency_s=latency_s,
            )
        )

    async def work(self, deployment: Deployment, replica: Replica, work: Work) -> None:
        """Wait for the emulated service time of an answer on a replica (502 if it was lost)."""
        first_s, seconds = self.times_s(deployment, work, replica)
        try:
            await self.pause(replica, seconds)
        except ApiError as error:
            self.note(deployment, error.status, work, first_s, seconds)
            raise
        self.note(deployment, 200, work, first_s, seconds)

    def times_s(self, deployment: Deployment, work: Work, replica: Replica) -> tuple[float, float]:
        """Return the time to the first token and to the last, in emulated seconds."""
        fixed_s = self._store.settings.latency_s
        if fixed_s > 0:
            return fixed_s, fixed_s
        return (
            first_token_s(deployment, work, replica.in_flight),
            service_s(deployment, work, replica.in_flight),
        )

    async def pause(self, replica: Replica, seconds: float) -> None:
        """Wait for emulated time on a replica (502 if it was lost meanwhile)."""
        await self._store.clock.sleep(seconds)
        if replica.step is Step.GONE:
            raise _replica_gone()

    @contextlib.contextmanager
    def measured(self, deployment: Deployment, replica: Replica, work: Work) -> Iterator["Measure"]:
        """Hold a slot while the upstream server works, and record the result.

        Raises:
            ApiError: 502 if the replica was lost meanwhile.
        """
        began_s = self._store.clock.now_s()
        measure = Measure(work)
        status = _CLIENT_GONE
        try:
            yield measure
            if replica.step is Step.GONE:
                raise _replica_gone()
            status = 200
        except ApiError as error:
            status = error.status
            raise
        finally:
            took_s = self._store.clock.now_s() - began_s
            self.note(deployment, status, measure.work, took_s, took_s)
            self.leave(deployment, replica)

    def leave(self, deployment: Deployment, replica: Replica) -> None:
        """Release a slot; the next request in the queue takes it."""
        replica.in_flight -= 1
        self._store.settle()
        deployment.last_request_s = self._store.now_s
        if deployment.waiting:
            self._give_out(deployment)

    def _give_out(self, deployment: Deployment) -> None:
        while deployment.waiting:
            replica = pick_replica(deployment, self._slots(deployment), None)
            if replica is None and deployment.count(Step.READY, Step.DRAINING):
                return
            turn = deployment.waiting.popleft()
            if turn.done():
                continue
            if replica is not None:
                replica.in_flight += 1
            turn.set_result(replica)


class Measure:
    """The tokens of a request to a real server: its own counts once the usage has arrived."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def read(self, usage: Any) -> None:
        """Read the counts of a `usage`, if there is one."""
        if isinstance(usage, dict):
            self.work = Work(
                prompt_tokens=int(usage.get("prompt_tokens") or 0),
                completion_tokens=int(usage.get("completion_tokens") or 0),
            )


def _replica_gone() -> ApiError:
    return ApiError(
        502,
        "the replica that served the request is gone",
        code="bad_gateway",
        kind="server_error",
    )


def _overloaded(status: int, model: str) -> ApiError:
    if status == 429:
        return ApiError(
            429,
            f"too many requests in flight to {model}",
            code="dynamic_request_limited",
            kind="rate_limit",
            headers={"x-ratelimit-reset": "1"},
        )
    return ApiError(503, f"{model} is overloaded", code="overloaded", kind="service_unavailable")
