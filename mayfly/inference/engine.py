"""Keep requests in flight on one event loop, fed by many threads.

One loop (uvloop) in a thread of its own holds one transport and one limit. Shards call `answer`
from threads of theirs: it reads and renders rows ahead and hands them over, so that disks and
templates never hold up the loop. What comes back is recorded on the loop, before anything else is
sent in its place. The loop is never the main thread's: uvloop there swallows SIGTERM, and with it
the teardown.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Self

import uvloop

from mayfly.inference.adaptive_limit import AdaptiveLimiter
from mayfly.inference.concurrency import CEILING, Fixed, Limiter, Source
from mayfly.inference.dispatcher import Dispatcher
from mayfly.inference.open_files import max_connections
from mayfly.inference.responses import read_completion
from mayfly.inference.row_stream import ReadReply, Record, RowStream, Snapshot
from mayfly.inference.settings import EngineSettings, Target
from mayfly.inference.transport.base import Transport
from mayfly.inference.transport.select import open_transport
from mayfly.models.errors import EndpointLost, MayflyError
from mayfly.models.rows import EMPTY_TALLY, RowRequest, Tally
from mayfly.models.secrets import secrets_of

__all__ = ["Engine", "EngineSettings", "Snapshot", "Target"]

SETTLE_S = 0.005
"""How long a feeding thread lets slots become free before it renders more rows."""


def limiter_for(settings: EngineSettings) -> Limiter:
    """Return the limiter that the settings name."""
    if settings.concurrency is None:
        return AdaptiveLimiter(first=settings.first_limit)
    return Fixed(settings.concurrency)


class Engine:
    """Answers rows for many threads; use as a context manager."""

    def __init__(
        self,
        *,
        target: Target,
        settings: EngineSettings,
        transport: Callable[[], Transport] | None = None,
        read: ReadReply = read_completion,
        limiter: Limiter | None = None,
        log: Callable[[str], None] = lambda _message: None,
    ) -> None:
        """Prepare; nothing runs before the context is entered.

        Args:
            transport: Makes another transport; called on the loop.
            read: Makes an answer of the body of a 200; on the loop, so it must be quick.
            limiter: Replaces the one that the settings name; used on the loop.
            log: Receives messages for the user; called on the loop.
        """
        self._settings = settings
        self._secrets = secrets_of(target.headers)
        self._read = read
        self._make_transport = transport or (lambda: open_transport(target.url, target.headers))
        self._limiter = limiter or limiter_for(settings)
        self._log = log
        self._finished, self._last_failure = EMPTY_TALLY, ""
        self._changes = deque[Callable[[], object]]()
        self._reason: MayflyError | None = None
        self._ended = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def open(self) -> Self:
        """Start the loop; opening twice is opening once."""
        if not self._ready.is_set():
            self._thread.start()
            self._ready.wait()
        return self

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_error: object) -> None:
        self.stop(EndpointLost("the engine was closed"), grace_s=0)
        self._thread.join()

    # For threads that feed it.

    def answer(
        self,
        requests: Iterable[RowRequest],
        record: Record,
        recorded: Callable[[Tally], object] = lambda _tally: None,
    ) -> Tally:
        """Answer rows; blocks until every one has an answer or an error.

        `requests` is pulled in this thread only; `record` and `recorded` are called on the loop
        only, so they must be quick. May be called from several threads at once; rows of the
        earlier call go first.

        Args:
            record: Returns what there is instead of the answer it was given: answers that settle
                rows (several, if the request carried as many), requests to be sent before others.
            recorded: Called when the answers of one turn of the loop are recorded, before anything
                is sent in their place, with the sums over all so far: what it writes is not sent
                again after a SIGKILL.

        Raises:
            MayflyError: What `stop` was given, or what the endpoint's answers amount to. All that
                had been answered has been recorded.
        """
        stream = RowStream(iter(requests), record, recorded)
        self._call(self._sender.join, stream)
        try:
            while True:
                while stream.feed(self._limiter.limit, self._held_beside(stream)):
                    self._call(self._sender.pump)
                if stream.error is not None:
                    raise stream.error
                if stream.exhausted and not stream.unrecorded:
                    return stream.tally
                ended = self._ended.is_set()
                if ended and stream.unrecorded:
                    raise self._reason or EndpointLost("the engine was closed")
                stream.arrived.wait(timeout=1.0)
                stream.arrived.clear()
                time.sleep(SETTLE_S)
        finally:
            self._call(self._forget, stream)

    def stop(self, reason: MayflyError, *, grace_s: float) -> None:
        """Send nothing more; requests in flight may end within the grace, in seconds.

        Returns at once; every `answer` then raises `reason`. Works from any thread, any number of
        times; the first reason counts.
        """
        # At once: a loop that is held up by a disk sends nothing when it goes on.
        self._sender.hold()
        self._call(self._begin_stop, reason, grace_s)

    @property
    def ended(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._ended.is_set() or self._reason is not None

    def check(self) -> None:
        """Raise what ended the engine, if it has ended."""
        if self.ended:
            raise self._reason or EndpointLost("the engine was closed")

    def begin_at(self, limit: int, source: Source = "guess", *, ceiling: int = CEILING) -> None:
        """Begin the search for a limit at a number; of no use once it is under way.

        Args:
            source: Where the number comes from.
            ceiling: The most that is ever tried.
        """
        self._call(partial(self._limiter.begin_at, limit, source, ceiling=ceiling))

    def hedge_after(self, *, calls: int, replicas: int) -> None:
        """Tell that no more calls of `answer` will begin than so many, counted from the first.

        From then on the slowest rows are hedged with slots that stay empty.
        """
        self._call(lambda: self._sender.hedge_after(calls=calls, replicas=replicas))

    def warm(self, connections: int) -> None:
        """Open connections ahead of the first request."""
        self._call(self._transport.warm, connections)

    def scaled(self, factor: float) -> None:
        """Tell that the endpoint has so many times the replicas that it had."""
        self.allow(lambda: self._limiter.scaled(factor))

    def allow(self, change: Callable[[], object]) -> None:
        """Change the limiter on the loop, and send what may be sent from then on.

        After the end it is changed all the same: other processes wait for the slots released.
        """
        self._changes.append(change)
        self._call(self._change)
        if self._ended.is_set():
            self._change()

    def proven(self) -> None:
        """Tell that rows of the same job are answered elsewhere: the request is sound."""
        self._call(self._sender.proven)

    def snapshot(self) -> Snapshot:
        """Return what the engine is doing now."""
        sender = self._sender
        streams = [*sender.streams]
        over = self._ended.is_set()
        waiting = sender.delayed + sum(len(s.waiting) + len(s.again) for s in streams)
        return Snapshot(
            sender.in_flight,
            self._limiter.limit,
            0 if over else waiting,
            sender.retries,
            sender.hedges,
            sum((stream.tally for stream in streams), start=self._finished),
            not over and any(not stream.exhausted for stream in streams),
            self._limiter.settled,
            next((s.last_failure for s in streams if s.last_failure), self._last_failure),
            sender.reasons.copy(),
        )

    def _call(self, function: Callable[..., object], *args: object) -> None:
        if self._ended.is_set():
            return
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # The loop has closed between the two lines.
            return

    # On the loop.

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._live())

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[float] = self._loop.create_future()
        self._transport = self._make_transport()
        self._sender = Dispatcher(
            loop=self._loop,
            transport=self._transport,
            limiter=self._limiter,
            settings=self._settings,
            read=self._read,
            end=lambda reason: self._begin_stop(reason, 0),
            log=self._log,
            most=max_connections(),
            secrets=self._secrets,
        )
        self._sender.tick()
        self._ready.set()
        try:
            grace_s = await self._over
            await self._sender.stop(grace_s)
            await self._transport.close()
        finally:
            self._ended.set()
            self._change()
            for stream in self._sender.streams:
                stream.arrived.set()

    def _change(self) -> None:
        while self._changes:
            self._changes.popleft()()
        if not self._ended.is_set():
            self._sender.pump()

    def _begin_stop(self, reason: MayflyError, grace_s: float) -> None:
        if self._reason is None:
            self._reason = reason
        if not self._over.done():
            self._over.set_result(grace_s)

    def _held_beside(self, stream: RowStream) -> int:
        """Return about how many bytes the rows of other streams have."""
        return sum(other.held_bytes for other in [*self._sender.streams] if other is not stream)

    def _forget(self, stream: RowStream) -> None:
        if stream in self._sender.streams:
            self._sender.streams.remove(stream)
            self._finished += stream.tally
            self._last_failure = stream.last_failure or self._last_failure
