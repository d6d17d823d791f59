"""Server-sent events of a streamed answer."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from together_emulator.http.errors import ApiError

DONE = b"data: [DONE]\n\n"


def event(value: Any) -> bytes:
    """Return one event."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


class EventStream(Response):
    """A response of events; the source is closed when the client disconnects."""

    def __init__(self, events: AsyncGenerator[bytes, None], headers: Mapping[str, str]) -> None:
        super().__init__(headers=headers, media_type="text/event-stream")
        self._events = events
        self.raw_headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        gone = asyncio.ensure_future(_disconnect(receive))
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        try:
            await send(start)
            async with contextlib.aclosing(_with_refusal(self._events)) as events:
                while (raw := await _next(events, gone)) is not None:
                    await send({"type": "http.response.body", "body": raw, "more_body": True})
            if not gone.done():
                await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()


async def _with_refusal(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Pass events on; an error in the middle becomes the last event."""
    async with contextlib.aclosing(events):
        try:
            async for raw in events:
                yield raw
        except ApiError as error:
            yield event(error.body())


async def _next(events: AsyncGenerator[bytes, None], gone: asyncio.Future[None]) -> bytes | None:
    """Return the next event; None at the end, or as soon as the client disconnects."""
    step = asyncio.ensure_future(anext(events, None))
    await asyncio.wait((step, gone), return_when=asyncio.FIRST_COMPLETED)
    if gone.done():
        step.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await step
        return None
    return step.result()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
