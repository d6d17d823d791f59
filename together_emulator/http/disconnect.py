"""Work that ends when the client that wanted it has gone."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

CLIENT_GONE = 499
"""Noted for a request whose client did not wait for the answer; nobody receives it."""


async def while_connected(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """Do the work, and cancel it as soon as the client hangs up.

    An inference engine does the same: it drops a request that nobody waits for, which frees its
    slot (and, with a server behind, cancels the request there).
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
