"""A server on loopback whose every response is decided by a test."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Self

import orjson

Script = Callable[["Request"], Awaitable[bytes | None]]


class Request:
    """A request that has come.

    Attributes:
        number: Which one it is at this server, from 1.
        connection: Which connection it came on, from 1.
        prompt: The text of its user message, or "" when it is no chat.
        write: Sends bytes before the script has ended.
    """

    def __init__(
        self,
        number: int,
        connection: int,
        head: bytes,
        body: bytes,
        write: Callable[[bytes], None] = lambda _data: None,
    ) -> None:
        self.number, self.connection, self.write = number, connection, write
        self.head, self.body = head, body
        try:
            self.prompt: str = orjson.loads(body)["messages"][-1]["content"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            self.prompt = ""


def completion(text: str) -> bytes:
    """Return the body of a chat completion."""
    return orjson.dumps(
        {
            "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "cached_tokens": 1},
        }
    )


def http(body: bytes, status: int = 200, *headers: str) -> bytes:
    """Return an HTTP answer."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def echo(request: Request) -> bytes:
    """Answer with the prompt in capitals."""
    return http(completion(request.prompt.upper()))


class ScriptedServer:
    """Answers by a script: bytes are sent as they are, None closes the connection.

    Attributes:
        requests: All that came, in order.
        connections: Connections that were opened.
        open: Connections that are open now.
        answered: Requests with an answer that the client has read, apart from its end.
    """

    def __init__(self, script: Script = echo) -> None:
        self._script = script
        self.requests: list[Request] = []
        self.connections = self.open = self.answered = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}/v1/chat/completions"

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._handlers: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()
        for task in [*self._handlers]:
            task.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        self.connections += 1
        self.open += 1
        mine = self.connections
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [x for x in head.lower().split(b"\r\n") if x.startswith(b"content-len")]
                length = int(lengths[0].partition(b":")[2]) if lengths else 0
                body = await reader.readexactly(length)
                request = Request(len(self.requests) + 1, mine, head, body, writer.write)
                self.requests.append(request)
                answer = await self._script(request)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
                self.answered += 1
                if b"connection: close" in answer.lower() or b"length" not in answer.lower():
                    break
        writer.close()
        self.open -= 1
        self._handlers.discard(task)
