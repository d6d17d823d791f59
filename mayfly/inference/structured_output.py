"""Answers that must fit a JSON Schema: checked as they come, asked again with what is wrong."""

from collections.abc import Callable, Iterator, Sequence

import orjson

from mayfly.inference.circuit_breaker import CircuitBreaker
from mayfly.inference.request_builder import Frame
from mayfly.inference.responses import short
from mayfly.models.errors import MayflyError
from mayfly.models.failures import INTERNAL, SCHEMA, Failure
from mayfly.models.json_schema import SchemaChecker
from mayfly.models.rows import Answer, RowRequest, added

__all__ = ["MAX_VALIDATION_ATTEMPTS", "SchemaChecker", "ValidatedResponses"]

MAX_VALIDATION_ATTEMPTS = 3
"""How often one row is asked for an answer that fits."""


class ValidatedResponses:
    """Feeds an engine with rows and takes its answers, until each fits or was asked enough.

    Iterate it for requests, hand `record` to the engine. A row is asked again before any other is
    sent: its answers so far were paid for, and are on no record. Its attempts and tokens are those
    of all its asks together.

    Args:
        keep: Takes an answer that settles its row.
        breaker, stop: End the run when no answer ever fits.
    """

    def __init__(
        self,
        requests: Iterator[RowRequest],
        keep: Callable[[Answer], None],
        *,
        checker: SchemaChecker,
        frame: Frame,
        breaker: CircuitBreaker,
        stop: Callable[[MayflyError], None],
    ) -> None:
        self._requests = requests
        self._keep = keep
        self._checker = checker
        self._frame = frame
        self._breaker = breaker
        self._stop = stop
        # Of rows that are out: the request, and the answers that did not fit.
        self._out: dict[int, tuple[RowRequest, list[Answer]]] = {}

    def __iter__(self) -> Iterator[RowRequest]:
        for request in self._requests:
            self._out[request.row] = request, []
            yield request

    def record(self, answer: Answer) -> Sequence[Answer | RowRequest]:
        """Keep and return an answer that settles its row, or return what asks the row again."""
        request, earlier = self._out.pop(answer.row)
        try:
            return self._taken(request, earlier, answer)
        except MayflyError:
            raise
        except Exception as error:  # noqa: BLE001 - the row is settled, and its slot comes free
            message = short(f"mayfly could not take the answer: {type(error).__name__}: {error}")
            failure = Failure(INTERNAL, message, 200, attempts=answer.attempts)
            answer = answer._replace(response=None, failure=failure)
            self._keep(answer)
            return (answer,)

    def _taken(
        self, request: RowRequest, earlier: list[Answer], answer: Answer
    ) -> Sequence[Answer | RowRequest]:
        """Return what settles a row, which is kept, or what sends it again."""
        if answer.response is not None and (wrong := self._checker.wrong(answer.response)):
            # What the limit on tokens has cut off would be cut off again.
            if len(earlier) + 1 < MAX_VALIDATION_ATTEMPTS and answer.finish_reason != "length":
                self._out[answer.row] = request, [*earlier, answer]
                return (self._corrected(request, answer.response, wrong),)
            message = short(f"{wrong}; the answer was {answer.response}")
            if answer.finish_reason == "length":
                message = short(f"cut off at max_tokens, {message}")
            failure = Failure(SCHEMA, message, 200)
            answer = _sum(answer, earlier)._replace(response=None)
            failure = failure._replace(attempts=answer.attempts)
            answer = answer._replace(failure=failure)
            if (reason := self._breaker.failed(failure)) is not None:
                self._stop(reason)
        elif earlier:
            answer = _sum(answer, earlier)
        if answer.failure is None:
            self._breaker.answered()
        self._keep(answer)
        return (answer,)

    def _corrected(self, request: RowRequest, response: str, wrong: str) -> RowRequest:
        """Return the request with the answer and what is wrong with it as further messages."""
        said = {"role": "assistant", "content": response}
        asked = {
            "role": "user",
            "content": f"That does not fit the JSON Schema: {wrong}. "
            "Answer again, with nothing but JSON that fits it.",
        }
        head, tail = self._frame
        if tail.startswith(b"]"):  # The messages are the last of the row's own part.
            more = b"," + orjson.dumps(said) + b"," + orjson.dumps(asked)
            return RowRequest(request.row, head + self._frame.content(request.body) + more + tail)
        body = orjson.loads(request.body)
        if "messages" in body:
            body["messages"] = [*body["messages"], said, asked]
        else:
            body["prompt"] = f"{body['prompt']}{response}\n\n{asked['content']}\n\n"
        return RowRequest(request.row, orjson.dumps(body))


def _sum(answer: Answer, earlier: Sequence[Answer]) -> Answer:
    """Return an answer with the attempts and tokens of earlier ones to its row added."""
    all_of_row = [answer, *earlier]
    attempts = sum(one.attempts for one in all_of_row)
    failure = answer.failure
    return answer._replace(
        failure=None if failure is None else failure._replace(attempts=attempts),
        prompt_tokens=added([one.prompt_tokens for one in all_of_row]),
        completion_tokens=added([one.completion_tokens for one in all_of_row]),
        cached_tokens=added([one.cached_tokens for one in all_of_row]),
        attempts=attempts,
    )
