"""Cancel work on a request when its client disconnects."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

CLIENT_GONE = 499
"""Status recorded for a request with a client that disconnected; it is never sent."""


async def while_connected(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """Await the work, and cancel it as soon as the client disconnects.

    An inference engine does the same: it drops an abandoned request, which frees its slot (and
    cancels the request to an upstream server).
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
        return Response(status_code=CLIENT_GONE)
    finally:
        gone.cancel()
        task.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
