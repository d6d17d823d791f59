"""An event loop whose time jumps to the next timer, and servers that run in it."""

import asyncio
import random
import selectors
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from mayfly.inference.concurrency import Limiter
from mayfly.inference.dispatcher import Dispatcher
from mayfly.inference.engine import EngineSettings, limiter_for
from mayfly.inference.responses import read_completion
from mayfly.inference.row_stream import ReadReply, RowStream
from mayfly.inference.transport.base import Done, NotSent, Outcome, Reply
from mayfly.models.errors import MayflyError
from mayfly.models.rows import Answer, RowRequest

POLL_S = 0.02
MOST_S = 50_000.0


class _Selector(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0.0
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Runs timers in order, without waiting for any of them."""

    def __init__(self) -> None:
        self._simulated = _Selector()
        super().__init__(self._simulated)

    def time(self) -> float:
        """Return simulated seconds since the loop was made."""
        return self._simulated.now

    def hold_up(self, seconds: float) -> None:
        """Let time pass in which nothing runs, as in a process that is stopped."""
        self._simulated.now += seconds


def completion(text: str = "yes", tokens: int = 5) -> bytes:
    """Return the body of a chat completion."""
    choice = {"message": {"content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": tokens}
    return orjson.dumps({"choices": [choice], "usage": usage})


class Call:
    """A request at a simulated server.

    Attributes:
        open: Whether its client still waits.
    """

    def __init__(self, server: "SimulatedServer", row: int, done: Done) -> None:
        self.server, self.row, self.open = server, row, True
        self._done = done

    def answer(self, outcome: Outcome) -> None:
        """Answer it, if its client still waits."""
        if self.open:
            self.open = False
            self._done(outcome)

    def cancel(self) -> None:
        """Close the connection."""
        self.open = False
        self.server.cancelled(self)


class SimulatedServer:
    """A transport whose other end is here; subclasses serve calls.

    Attributes:
        sent: Requests by row.
        sent_at: Times of all requests, in simulated seconds.
    """

    def __init__(self) -> None:
        self.sent: dict[int, int] = {}
        self.sent_at: list[float] = []
        self.open = self.most_open = 0

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that it runs on."""
        return asyncio.get_running_loop()

    def send(self, body: bytes, done: Done) -> Call:
        """Take a request."""
        row = int(orjson.loads(body)["row"])
        self.sent[row] = self.sent.get(row, 0) + 1
        self.sent_at.append(self.loop.time())
        call = Call(self, row, done)
        self.serve(call)
        return call

    def reply(
        self,
        call: Call,
        wait_s: float,
        status: int = 200,
        headers: Mapping[str, str] = {},
        text: str = "",
    ) -> None:
        """Answer a call after a while."""
        body = completion() if status == 200 else orjson.dumps({"error": {"message": text or "no"}})
        reply = Reply(status, body, headers.get)
        self.loop.call_later(wait_s, call.answer, reply)

    def serve(self, call: Call) -> None:
        """Answer a call, now or later."""
        raise NotImplementedError

    def cancelled(self, call: Call) -> None:
        """Note that a client has gone."""

    def warm(self, _connections: int, /) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""


class Slots(SimulatedServer):
    """Serves so many calls at once, the others in order of arrival.

    Args:
        watches: Whether a call whose client has gone is dropped from the queue.
    """

    def __init__(self, slots: int, service_s: float, *, watches: bool = True) -> None:
        super().__init__()
        self._free, self._service_s, self._watches = slots, service_s, watches
        self._queue: deque[Call] = deque()

    def serve(self, call: Call) -> None:
        self._queue.append(call)
        self._next()

    def cancelled(self, call: Call) -> None:
        if self._watches and call in self._queue:
            self._queue.remove(call)

    def _next(self) -> None:
        while self._free and self._queue:
            self._free -= 1
            self.loop.call_later(self._service_s, self._ended, self._queue.popleft())

    def _ended(self, call: Call) -> None:
        self._free += 1
        call.answer(Reply(200, completion(), lambda _name: None))
        self._next()


class RateLimited(SimulatedServer):
    """Refuses what exceeds a bucket of a second's worth of requests.

    Args:
        rates: (from second, requests per second); 0 refuses everything, inf nothing.
        headers: Given with a refusal.
    """

    def __init__(
        self,
        rates: list[tuple[float, float]],
        *,
        latency_s: float = 0.3,
        sigma: float = 0.3,
        status: int = 429,
        headers: Mapping[str, str] = {},
        seed: int = 1,
    ) -> None:
        super().__init__()
        self._rates, self._latency_s, self._sigma = rates, latency_s, sigma
        self._status, self._headers = status, headers
        self._dice = random.Random(seed)
        self._tokens = self._at = 0.0
        self._tokens = min(rates[0][1], 1e9)
        self.refused = 0

    def serve(self, call: Call) -> None:
        now = self.loop.time()
        rate = [rate for at, rate in self._rates if at <= now][-1]
        self._tokens = min(
            self._tokens + (now - self._at) * min(rate, 1e9), max(min(rate, 1e9), 1.0)
        )
        self._at = now
        if rate <= 0 or self._tokens < 1:
            self.refused += 1
            self.reply(call, 0.005, self._status, self._headers, text="engine overloaded")
            return
        self._tokens -= 1
        self.reply(call, self._latency_s * self._dice.lognormvariate(0, self._sigma))


class Unlucky(Slots):
    """Refuses a share of the calls, whatever the load is.

    Args:
        share: Of the calls, from 0 to 1.
        storm_s: From this second to that one all calls are refused.
        headers: Given with a refusal.
    """

    def __init__(
        self,
        share: float,
        *,
        slots: int,
        service_s: float,
        storm_s: tuple[float, float] = (0.0, 0.0),
        status: int = 429,
        headers: Mapping[str, str] = {},
        seed: int = 1,
    ) -> None:
        super().__init__(slots, service_s)
        self._share, self._storm_s = share, storm_s
        self._status, self._headers = status, headers
        self._dice = random.Random(seed)
        self.refused_in_storm = 0

    def serve(self, call: Call) -> None:
        storm = self._storm_s[0] <= self.loop.time() < self._storm_s[1]
        self.refused_in_storm += storm
        if storm or self._dice.random() < self._share:
            self.reply(call, 0.005, self._status, self._headers, text="bad replica")
        else:
            super().serve(call)


class Scripted(SimulatedServer):
    """Answers by a function of the call: (seconds, status) or None for never."""

    def __init__(self, script: Callable[[Call], tuple[float, int] | NotSent | None]) -> None:
        super().__init__()
        self._script = script

    def serve(self, call: Call) -> None:
        match self._script(call):
            case (wait_s, status):
                self.reply(call, float(wait_s), int(status))
            case NotSent() as outcome:
                self.loop.call_later(0.001, call.answer, outcome)
            case None:
                return


@dataclass
class Batch:
    """The result of rows.

    Attributes:
        seconds: Simulated time until the last was settled.
        messages: Messages to the user.
        error: What ended the run, if something did.
        most_in_flight: Read after each pump.
    """

    seconds: float = 0.0
    answers: dict[int, Answer] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    error: MayflyError | None = None

    @property
    def failed(self) -> list[str]:
        """The errors of rows."""
        return [answer.error for answer in self.answers.values() if answer.error]


def run_batch(
    server: SimulatedServer,
    rows: int,
    *,
    limiter: Limiter | None = None,
    seed: int = 7,
    read: ReadReply = read_completion,
    **settings: Any,
) -> Batch:
    """Answer rows from a server in simulated time, with the engine's dispatcher."""
    chosen = EngineSettings(**settings)
    batch = Batch()
    requests = (RowRequest(row, orjson.dumps({"row": row})) for row in range(rows))

    def record(answer: Answer) -> None:
        assert answer.row not in batch.answers
        batch.answers[answer.row] = answer

    async def answer(loop: asyncio.AbstractEventLoop) -> None:
        chosen_limiter = limiter or limiter_for(chosen)
        ends: list[MayflyError] = []
        dispatcher = Dispatcher(
            loop=loop,
            transport=server,
            limiter=chosen_limiter,
            settings=chosen,
            read=read,
            end=ends.append,
            log=batch.messages.append,
            clock=loop.time,
            uniform=random.Random(seed).uniform,
        )
        dispatcher.tick()
        stream = RowStream(requests, record)
        dispatcher.join(stream)
        while not (stream.exhausted and not stream.unrecorded):
            while stream.feed(chosen_limiter.limit):
                dispatcher.pump()
            if ends:
                batch.error = ends[0]
                break
            assert loop.time() < MOST_S
            await asyncio.sleep(POLL_S)
        batch.seconds = loop.time()
        await dispatcher.stop(0)

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(answer(runner.get_loop()))
    return batch
