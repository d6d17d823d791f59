"""Run requests on one event loop, fed by many threads.

One uvloop loop in its own thread owns one transport and one concurrency limit. Shards call
`answer` from their threads: it reads and renders rows ahead and passes them on, so that disks and
templates never block the loop. Answers are recorded on the loop, before another row is sent in
their slots. The loop never runs in the main thread: uvloop there swallows SIGTERM, and with it the
teardown.
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
"""Pause of a feeding thread before it renders more rows, so that several slots become free."""


def limiter_for(settings: EngineSettings) -> Limiter:
    """Return the limiter for the settings."""
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
        """Initialise; nothing runs before the context is entered.

        Args:
            transport: Creates another transport; called on the loop.
            read: Parses the body of a 200; called on the loop, so it must be quick.
            limiter: Replaces the limiter of the settings; used on the loop.
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

    # For the feeding threads.

    def answer(
        self,
        requests: Iterable[RowRequest],
        record: Record,
        recorded: Callable[[Tally], object] = lambda _tally: None,
    ) -> Tally:
        """Answer rows; block until each has an answer or an error.

        `requests` is iterated in this thread; `record` and `recorded` are called on the loop, so
        they must be quick. Several threads may call this at once; rows of earlier calls go first.

        Args:
            record: Called with each answer. May return a replacement: answers that settle rows
                (several, if the request had several rows), and requests to send before others.
            recorded: Called when the answers of one iteration of the loop are recorded, before
                their slots are reused, with the totals so far: what it writes is not sent again
                after a SIGKILL.

        Raises:
            MayflyError: The reason given to `stop`, or the error that ends the run. All answers
                until then have been recorded.
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
        """Send nothing more; requests in flight may finish within the grace period, in seconds.

        Returns at once; every `answer` then raises `reason`. May be called from any thread, any
        number of times; the first reason counts.
        """
        # Immediately, so that a loop that is blocked by a disk sends nothing when it continues.
        self._sender.hold()
        self._call(self._begin_stop, reason, grace_s)

    @property
    def ended(self) -> bool:
        """Whether the engine no longer sends."""
        return self._ended.is_set() or self._reason is not None

    @property
    def alive(self) -> bool:
        """Whether its loop is running."""
        return self._thread.is_alive()

    def check(self) -> None:
        """Raise the error that ended the engine, if it has ended."""
        if self.ended:
            raise self._reason or EndpointLost("the engine was closed")

    def begin_at(self, limit: int, source: Source = "guess", *, ceiling: int = CEILING) -> None:
        """Start the search for the limit at a number; has no effect once measurements exist.

        Args:
            source: Where the number comes from.
            ceiling: Upper bound of the limit.
        """
        self._call(partial(self._limiter.begin_at, limit, source, ceiling=ceiling))

    def hedge_after(self, *, calls: int, replicas: int) -> None:
        """Hedge the slowest rows with empty slots after the last of `calls` calls of `answer`.

        Args:
            calls: Total number of calls, counted from the first.
            replicas: Ready replicas.
        """
        self._call(lambda: self._sender.hedge_after(calls=calls, replicas=replicas))

    def warm(self, connections: int) -> None:
        """Open connections ahead of the first request."""
        self._call(self._transport.warm, connections)

    def scaled(self, factor: float) -> None:
        """Adjust the limit after the number of replicas was multiplied by `factor`."""
        self.allow(lambda: self._limiter.scaled(factor))

    def allow(self, change: Callable[[], object]) -> None:
        """Change the limiter on the loop, and send what the new limit allows.

        This works after the end as well: other processes wait for the released slots.
        """
        self._changes.append(change)
        self._call(self._change)
        if self._ended.is_set():
            self._change()

    def when_readable(self, file: int, function: Callable[[], bool]) -> None:
        """Call a function on the loop when a descriptor is readable, until it returns False.

        What it changes in the limiter is in effect when it returns. After the end of the loop it
        is not called any more.
        """

        def call() -> None:
            if not function():
                self._loop.remove_reader(file)
            elif not self._ended.is_set():
                self._sender.pump()

        self._call(self._loop.add_reader, file, call)

    def when_writable(self, file: int, function: Callable[[], bool]) -> None:
        """Call a function on the loop when a descriptor is writable, until it returns False."""

        def call() -> None:
            if not function():
                self._loop.remove_writer(file)

        self._call(self._loop.add_writer, file, call)

    def proven(self) -> None:
        """Record that another process has answered rows of the job: the request is valid."""
        self._call(self._sender.proven)

    def snapshot(self) -> Snapshot:
        """Return the engine's current state."""
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
        except RuntimeError:  # The loop was closed in the meantime.
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
        """Return the approximate bytes held by the rows of other streams."""
        return sum(other.held_bytes for other in [*self._sender.streams] if other is not stream)

    def _forget(self, stream: RowStream) -> None:
        if stream in self._sender.streams:
            self._sender.streams.remove(stream)
            self._finished += stream.tally
            self._last_failure = stream.last_failure or self._last_failure
