"""Validate answers against a JSON Schema; retry invalid ones with the validation error."""

from collections.abc import Callable, Iterator, Sequence

import orjson

from mayfly.inference.circuit_breaker import CircuitBreaker
from mayfly.inference.request_builder import Frame
from mayfly.inference.server_error import internal_failure, short
from mayfly.models.errors import MayflyError
from mayfly.models.failures import SCHEMA, Failure
from mayfly.models.json_schema import SchemaChecker
from mayfly.models.rows import Answer, RowRequest, added

__all__ = ["MAX_VALIDATION_ATTEMPTS", "SchemaChecker", "ValidatedResponses"]

MAX_VALIDATION_ATTEMPTS = 3
"""Maximum requests per row for a valid answer."""


class ValidatedResponses:
    """Feeds an engine with rows and validates the answers, until each is valid or is given up.

    Iterate it for requests, and pass `record` to the engine. A row with an invalid answer is sent
    again before any other row: its answers so far were paid for, but are not recorded. Its
    attempts and tokens are the totals of all its requests.

    Args:
        keep: Called with an answer that settles its row.
        breaker, stop: End the run if no answer is ever valid.
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
        # For each row in flight: the request, and its invalid answers.
        self._out: dict[int, tuple[RowRequest, list[Answer]]] = {}

    def __iter__(self) -> Iterator[RowRequest]:
        for request in self._requests:
            self._out[request.row] = request, []
            yield request

    def record(self, answer: Answer) -> Sequence[Answer | RowRequest]:
        """Keep and return an answer that settles its row, or return a corrective request."""
        request, earlier = self._out.pop(answer.row)
        try:
            return self._taken(request, earlier, answer)
        except MayflyError:
            raise
        except Exception as error:  # noqa: BLE001 - the row is settled, and its slot comes free
            failure = internal_failure(error, answer.attempts)
            answer = answer._replace(response=None, failure=failure)
            self._keep(answer)
            return (answer,)

    def _taken(
        self, request: RowRequest, earlier: list[Answer], answer: Answer
    ) -> Sequence[Answer | RowRequest]:
        """Return the final answer of a row, after keeping it, or a corrective request."""
        if answer.response is not None and (wrong := self._checker.wrong(answer.response)):
            # An answer truncated by max_tokens would be truncated again.
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
        """Return the request with the answer and its validation error as further messages."""
        said = {"role": "assistant", "content": response}
        asked = {
            "role": "user",
            "content": f"That does not fit the JSON Schema: {wrong}. "
            "Answer again, with nothing but JSON that fits it.",
        }
        head, tail = self._frame
        if tail.startswith(b"]"):  # The row's own part ends with the messages.
            more = b"," + orjson.dumps(said) + b"," + orjson.dumps(asked)
            return RowRequest(request.row, head + self._frame.content(request.body) + more + tail)
        body = orjson.loads(request.body)
        if "messages" in body:
            body["messages"] = [*body["messages"], said, asked]
        else:
            body["prompt"] = f"{body['prompt']}{response}\n\n{asked['content']}\n\n"
        return RowRequest(request.row, orjson.dumps(body))


def _sum(answer: Answer, earlier: Sequence[Answer]) -> Answer:
    """Return an answer with the attempts and tokens of the row's earlier ones added."""
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
