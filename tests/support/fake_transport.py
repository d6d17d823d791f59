"""A transport with prepared responses, for tests of what is decided about them."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from mayfly.backoff import Backoff
from mayfly.inference.engine import Engine, EngineSettings, Target
from mayfly.inference.responses import read_completion
from mayfly.inference.row_stream import ReadReply
from mayfly.inference.transport.base import Done, Reply

Served = tuple[int, Any]


def said(text: str | None, finish: str = "stop") -> Served:
    """Return a chat completion of 10 prompt tokens, 4 of them cached, and 5 more."""
    choice = {"message": {"content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "cached_tokens": 4}
    return 200, {"choices": [choice], "usage": usage}


def refusal(status: int, words: str = "no", code: str = "") -> Served:
    """Return an error answer."""
    return status, {"error": {"message": words, "code": code}}


class Server:
    """Answers each body by a function; keeps the bodies in the order they came."""

    def __init__(self, serve: Callable[[dict[str, Any]], Served]) -> None:
        self._serve = serve
        self.bodies: list[dict[str, Any]] = []

    def send(self, body: bytes, done: Done) -> asyncio.Handle:
        asked = orjson.loads(body)
        self.bodies.append(asked)
        status, value = self._serve(asked)
        reply = Reply(status, orjson.dumps(value), lambda _name: None)
        return asyncio.get_running_loop().call_soon(done, reply)

    def warm(self, _connections: int, /) -> None:
        return

    async def close(self) -> None:
        return


@contextmanager
def engine_on(
    server: Server, read: ReadReply = read_completion, **settings: Any
) -> Iterator[Engine]:
    """Open an engine that sends to a server and waits for nothing before it tries again."""
    chosen = EngineSettings(concurrency=16, backoff=Backoff(base_s=0, cap_s=0), **settings)
    target = Target(url="", headers={})
    with Engine(target=target, settings=chosen, transport=lambda: server, read=read) as running:
        yield running
