"""A server with latency and almost no CPU use: `python -m benchmarks.slow_server --help`.

One asyncio protocol on uvloop answers every POST with the same completion after a log-normal
time. `--slots` requests are processed at once and the others wait in a queue, as at an endpoint;
above `--refuse-above` requests it answers 429. A closed connection cancels its request.
`GET /counts` returns the counters, and `GET /throughput` the answers in each tenth of a second.
"""

import argparse
import asyncio
import hashlib
import math
import random
import time
from collections import Counter, deque
from typing import Any

import orjson
import uvloop

from benchmarks.prefix_cache import PrefixCache
from benchmarks.servers import COMPLETION

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
BUSY = (
    b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 43\r\n\r\n"
    b'{"error":{"message":"busy","code":"busy__"}}'
)


TOKENS = 42
"""What an answer says that it has; with --by-row, in proportion to the time."""

NEARLY = 0.9
"""The share of busy slots at which the server counts as full."""


class Server:
    """State of all connections: the slots, the queue and the counters."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.loop = asyncio.get_running_loop()
        self.busy = self.held = self.most_held = self.served = self.refused = 0
        self.received = self.dropped = 0
        self.rows: set[bytes] = set()
        self.full_at = self.full_until = self.last_at = 0.0
        self.busy_until_full_s = self.busy_while_full_s = self.busy_after_s = 0.0
        self.throughput: Counter[int] = Counter()
        self._since = time.monotonic()
        self.queue: deque[Connection] = deque()
        self.random = random.Random(options.seed)  # noqa: S311
        self.reply = reply()
        self.cache = PrefixCache(options.cache_blocks) if options.cache_blocks else None
        self.mu = math.log(options.median_s) if options.median_s else 0.0

    def take(self, connection: "Connection", body: bytes) -> None:
        """Start, queue or reject a request."""
        self.received += 1
        if self.options.tell_rows_apart:
            self.rows.add(hashlib.blake2b(body, digest_size=12).digest())
        if self.options.refuse_above and self.held >= self.options.refuse_above:
            self.refused += 1
            connection.write(BUSY)
            return
        if self.cache is not None:
            prompt_tokens, cached_tokens = self.cache.read(body)
            connection.reply = reply(prompt_tokens=prompt_tokens, cached_tokens=cached_tokens)
        self.held += 1
        self.most_held = max(self.most_held, self.held)
        if self.busy >= self.options.slots:
            self.queue.append(connection)
        else:
            self._begin(connection)

    def leave(self, connection: "Connection") -> None:
        """Cancel the requests of a lost connection."""
        if connection.work is not None:
            connection.work.cancel()
            self.dropped += 1
            self._over(connection)
        elif connection in self.queue:
            self.queue.remove(connection)
            self.held -= 1

    def counts(self) -> dict[str, float]:
        """Return the counters; times are of the machine's monotonic clock, in seconds."""
        self._count(0)
        names = ["received", "served", "dropped", "refused", "held", "most_held"]
        names += ["full_at", "full_until", "last_at"]
        names += ["busy_until_full_s", "busy_while_full_s", "busy_after_s"]
        return {"rows": len(self.rows), **{name: getattr(self, name) for name in names}}

    def _begin(self, connection: "Connection") -> None:
        self._count(1)
        if not self.options.median_s:
            self._end(connection)
            return
        dice = self.random
        if self.options.by_row:
            dice = random.Random(connection.body)  # noqa: S311
        seconds = dice.lognormvariate(self.mu, self.options.sigma)
        if self.options.by_row:
            connection.reply = reply(tokens=round(TOKENS * seconds / self.options.median_s))
        connection.work = self.loop.call_later(seconds, self._end, connection)

    def _end(self, connection: "Connection") -> None:
        self.served += 1
        self.throughput[int(time.monotonic() * 10)] += 1
        connection.write(connection.reply or self.reply)
        self._over(connection)

    def _over(self, connection: "Connection") -> None:
        connection.work = None
        self._count(-1)
        self.held -= 1
        while self.queue and self.busy < self.options.slots:
            self._begin(self.queue.popleft())

    def _count(self, more: int) -> None:
        """Add up the time of busy slots, and record when all were busy."""
        now = time.monotonic()
        worked_s, self._since = self.busy * (now - self._since), now
        if not self.full_at:
            self.busy_until_full_s += worked_s
        else:
            self.busy_after_s += worked_s
        if self.busy >= NEARLY * self.options.slots:
            self.full_at = self.full_at or now
            self.full_until = now
            # It had not ended yet.
            self.busy_while_full_s += self.busy_after_s
            self.busy_after_s = 0.0
        self.busy += more
        if more < 0:
            self.last_at = now


def reply(*, tokens: int = TOKENS, prompt_tokens: int = 118, cached_tokens: int = 64) -> bytes:
    """Return an answer with a number of tokens."""
    body = COMPLETION.replace(b'"completion_tokens":42', b'"completion_tokens":%d' % tokens)
    body = body.replace(b'"prompt_tokens":118', b'"prompt_tokens":%d' % prompt_tokens)
    body = body.replace(b'"cached_tokens":64', b'"cached_tokens":%d' % cached_tokens)
    return OK % (len(body), body)


class Connection(asyncio.Protocol):
    """One connection; requests have a content-length and come one at a time."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = b""
        self._transport: Any = None
        self.body = self.reply = b""
        self.work: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        self._server.leave(self)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = 0
        for line in head.lower().split(b"\r\n")[1:]:
            if line.startswith(b"content-length:"):
                length = int(line[15:])
        if len(body) < length:
            return
        self._buffer = b""
        if head.startswith(b"GET"):
            server = self._server
            body_value = (
                sorted(server.throughput.items()) if b"/throughput" in head else server.counts()
            )
            body = orjson.dumps(body_value)
            self.write(OK % (len(body), body))
        elif head.startswith(b"POST"):
            self.body = body
            self._server.take(self, body)
        else:
            self.write(OK % (0, b""))

    def write(self, data: bytes) -> None:
        """Send the response, if the connection is still open."""
        if self._transport is not None:
            self._transport.write(data)


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--median-s", type=float, default=0.4, help="0 answers at once")
    parser.add_argument("--sigma", type=float, default=0.49, help="of the log-normal time")
    parser.add_argument("--by-row", action="store_true", help="a request has a length of its own")
    parser.add_argument("--slots", type=int, default=512, help="requests processed at once")
    parser.add_argument("--refuse-above", type=int, default=0, help="429 above this many requests")
    parser.add_argument("--tell-rows-apart", action="store_true", help="count distinct bodies")
    parser.add_argument("--cache-blocks", type=int, default=0, help="of a prompt cache; see there")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()

    async def serve() -> None:
        loop, server = asyncio.get_running_loop(), Server(options)
        listening = await loop.create_server(
            lambda: Connection(server), "127.0.0.1", options.port, backlog=4096
        )
        await listening.serve_forever()

    uvloop.run(serve())


if __name__ == "__main__":
    main()
