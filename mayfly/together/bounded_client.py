"""An HTTP client with a total time limit for every call, whatever a server or a disk does.

httpx limits the wait for a connection and for the next bytes, not the whole call: a server that
sends a byte every ten seconds keeps a call open for ever, and so does a resolver that hangs, or a
CA file on a disk that hangs. So each call runs in its own thread, and the caller waits at most the
total time.
"""

import contextvars
import random
import threading
import time
from collections.abc import Callable, Collection
from queue import Empty, SimpleQueue
from typing import Any

import httpx

from mayfly.models.secrets import secrets_of, without_secrets
from mayfly.together.sdk import DefaultHttpxClient

READ_REPEATS = 3
READ_PAUSE_S = 0.1
"""Longest pause before the first repeat of a read; it doubles. Longer troubles are the callers'."""

_BROKEN = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
_SOON = frozenset({500, 502, 503, 504})


class BoundedClient(DefaultHttpxClient):
    """The SDK's HTTP client with a total time limit for each call.

    Args:
        total_s: Total time of a call in seconds, including connection, redirects and body.
        host: Host to which `private_headers` are sent; a redirect to another host drops them, as
            it drops the key.
        private_headers: Names of the headers that the user has set.
        on_date: Called with the `Date` header of each response.
    """

    def __init__(
        self,
        *,
        total_s: float,
        host: str,
        private_headers: Collection[str] = (),
        on_date: Callable[[str], None] = lambda _date: None,
        **more: Any,
    ) -> None:
        self._total_s = total_s

        def keep_private(request: httpx.Request) -> None:
            if request.url.host != host:
                for name in private_headers:
                    request.headers.pop(name, None)

        def note_date(response: httpx.Response) -> None:
            if (date := response.headers.get("date")) is not None:
                on_date(date)

        super().__init__(event_hooks={"request": [keep_private], "response": [note_date]}, **more)

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request and read the response within the total time (else ReadTimeout).

        A read that the API fails at once is repeated: a step makes several in a row, and would
        start again with the first. A call that changes something is sent once.
        """
        if options.get("stream"):
            return super().send(request, **options)
        end = time.monotonic() + self._total_s
        repeats = READ_REPEATS if request.method == "GET" else 0
        # The jitter keeps many runs from repeating at the same moments.
        pauses_s = [random.uniform(0.0, READ_PAUSE_S * 2**n) for n in range(repeats)]  # noqa: S311
        while True:
            left_s = max(0.0, end - time.monotonic())
            try:
                response = self._send_once(request, left_s, **options)
            except _BROKEN:
                if not _paused(pauses_s, end):
                    raise
            else:
                if not _may_succeed_soon(response) or not _paused(pauses_s, end):
                    return response

    def _send_once(self, request: httpx.Request, left_s: float, **options: Any) -> httpx.Response:
        ended: SimpleQueue[httpx.Response | BaseException] = SimpleQueue()
        plain_send = super().send

        def call() -> None:
            try:
                ended.put(_masked(request, plain_send(request, **options)))
            except BaseException as error:  # noqa: BLE001 - handed to the caller
                ended.put(error)

        # A daemon: a call that never ends must not keep the process either.
        context = contextvars.copy_context()
        threading.Thread(
            target=context.run, args=(call,), name=f"{request.method} call", daemon=True
        ).start()
        try:
            outcome = ended.get(timeout=left_s)
        except Empty:
            raise httpx.ReadTimeout(
                f"no complete response within {self._total_s:.0f} s", request=request
            ) from None
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


class TransportAtFirstUse(httpx.BaseTransport):
    """A transport that `make` opens when the first request goes through it."""

    def __init__(self, make: Callable[[], httpx.BaseTransport]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._transport: httpx.BaseTransport | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        with self._lock:
            if self._transport is None:
                self._transport = self._make()
        return self._transport.handle_request(request)

    def close(self) -> None:
        """Close the connections, if there are any."""
        if self._transport is not None:
            self._transport.close()


def _may_succeed_soon(response: httpx.Response) -> bool:
    """Return whether the API failed a read, and did not ask to wait."""
    return response.status_code in _SOON and "retry-after" not in response.headers


def _paused(pauses_s: list[float], end: float) -> bool:
    """Take the next pause; return whether there is one, and time for it."""
    if not pauses_s or time.monotonic() + pauses_s[0] >= end:
        return False
    time.sleep(pauses_s.pop(0))
    return True


def _masked(request: httpx.Request, response: httpx.Response) -> httpx.Response:
    """Return a response with the key masked, in case the server has quoted it."""
    content = response.content
    clean = without_secrets(content, secrets_of(request.headers))
    if clean is content:
        return response
    unpacked = ("content-encoding", "content-length", "transfer-encoding")
    return httpx.Response(
        response.status_code,
        headers=[(name, v) for name, v in response.headers.items() if name not in unpacked],
        content=clean,
        request=response.request,
        history=response.history,
    )
