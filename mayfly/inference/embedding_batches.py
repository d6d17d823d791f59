"""Pack several texts into one embeddings request, and isolate a text that is rejected."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from mayfly.inference.circuit_breaker import CircuitBreaker
from mayfly.inference.request_builder import Frame
from mayfly.inference.server_error import internal_failure
from mayfly.models.errors import MayflyError
from mayfly.models.failures import INVALID_REQUEST, TOO_LONG, UNREADABLE, Failure
from mayfly.models.rows import Answer, RowRequest

MAX_TEXTS = 64
MAX_BYTES = 128 * 2**10
"""Maximum texts per request, and bytes of them; a single longer text is sent alone."""


_NO_VECTOR = "the server's reply for this text is not a vector of finite numbers"


class _Batch(NamedTuple):
    """Texts of one request; `attempts` were made as part of larger requests."""

    rows: list[RowRequest]
    attempts: int = 0


class PackedTexts:
    """Feeds an engine with requests of several rows, and splits their answers by row.

    Iterate it for requests, and pass `record` to the engine. A request that is rejected for its
    content is sent again in halves, until the bad text is alone.

    Args:
        keep: Called with an answer that settles its row.
        breaker, stop: End the run if every text is rejected with the same error.
    """

    def __init__(
        self,
        requests: Iterator[RowRequest],
        keep: Callable[[Answer], None],
        *,
        frame: Frame,
        breaker: CircuitBreaker,
        stop: Callable[[MayflyError], None],
    ) -> None:
        self._requests = requests
        self._keep = keep
        self._frame = frame
        self._breaker = breaker
        self._stop = stop
        self._out: dict[int, _Batch] = {}

    def __iter__(self) -> Iterator[RowRequest]:
        rows: list[RowRequest] = []
        size = 0
        for row in self._requests:
            if row.failure is not None:
                yield row
                continue
            if rows and (len(rows) == MAX_TEXTS or size + len(row.body) > MAX_BYTES):
                yield self._send(_Batch(rows))
                rows, size = [], 0
            rows.append(row)
            size += len(row.body)
        if rows:
            yield self._send(_Batch(rows))

    def record(self, answer: Answer) -> Sequence[Answer | RowRequest]:
        """Keep and return the answers of a request's rows, or return its halves for sending."""
        batch = self._out.pop(answer.row, None)
        if batch is None:  # A row that could not be sent.
            self._keep(answer)
            return (answer,)
        try:
            return self._taken(batch, answer)
        except MayflyError:
            raise
        except Exception as error:  # noqa: BLE001 - the rows are settled, and their slot comes free
            attempts = batch.attempts + answer.attempts
            return self._failed(batch.rows, internal_failure(error, attempts), attempts)

    def _taken(self, batch: _Batch, answer: Answer) -> Sequence[Answer | RowRequest]:
        """Return the answers of a request's rows, after keeping them, or its halves."""
        rows, attempts = batch.rows, batch.attempts + answer.attempts
        if answer.failure is not None:
            failure = answer.failure._replace(attempts=attempts)
            if len(rows) > 1 and failure.kind in {INVALID_REQUEST, TOO_LONG}:
                half = len(rows) // 2
                halves = rows[:half], rows[half:]
                return [self._send(_Batch(part, attempts)) for part in halves]
            return self._failed(rows, failure, attempts)
        found = answer.responses or ()
        if len(found) != len(rows):
            message = f"{len(found)} vectors for {len(rows)} texts"
            return self._failed(rows, Failure(UNREADABLE, message, 200, "", attempts), attempts)
        self._breaker.answered()
        tokens = _shares(answer.prompt_tokens, [len(row.body) for row in rows])
        none = Failure(UNREADABLE, _NO_VECTOR, 200, attempts=attempts)
        settled = [
            Answer(
                row.row,
                vector,
                None if vector is not None else none,
                prompt_tokens=share,
                attempts=attempts,
                latency_s=answer.latency_s,
                dropped=answer.dropped,
            )
            for row, vector, share in zip(rows, found, tokens, strict=True)
        ]
        for one in settled:
            self._keep(one)
        return settled

    def _failed(self, rows: list[RowRequest], failure: Failure, attempts: int) -> Sequence[Answer]:
        settled = [Answer(row.row, None, failure, attempts=attempts) for row in rows]
        for one in settled:
            self._keep(one)
        if len(rows) == 1 and (reason := self._breaker.failed(failure)) is not None:
            self._stop(reason)
        return settled

    def _send(self, batch: _Batch) -> RowRequest:
        first = batch.rows[0].row
        self._out[first] = batch
        texts = b",".join(self._frame.content(row.body) for row in batch.rows)
        return RowRequest(first, self._frame.head + texts + self._frame.tail)


def _shares(total: int | None, sizes: Sequence[int]) -> Sequence[int | None]:
    """Distribute a request's tokens among its texts by size; the shares add up to the total."""
    if total is None:
        return [None] * len(sizes)
    whole, seen, given = sum(sizes), 0, 0
    shares = []
    for size in sizes:
        seen += size
        shares.append(total * seen // whole - given)
        given += shares[-1]
    return shares
