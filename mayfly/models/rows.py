"""The values of a row: the request that is sent for it and the answer that is kept."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mayfly.models.failures import Failure

MAX_TOKENS = 2**31 - 1
"""Upper bound of the tokens of one answer: a higher count is an error of the server."""


class RowRequest(NamedTuple):
    """One row, ready to send.

    Attributes:
        row: Position in the input, from 0.
        body: The JSON body of its request; empty if there is a `failure`.
        failure: Why the row cannot be sent (a null prompt, a template error), or None.
    """

    row: int
    body: bytes
    failure: Failure | None = None


class Answer(NamedTuple):
    """The result of a row.

    Exactly one of `response`, `failure` and (if the answer is tool calls only) `tool_calls` is
    set; `reasoning`, usage and the rest are kept beside each of them.

    Attributes:
        row: Position in the input, from 0.
        response: The text; of an embedding, base64 of little-endian 32-bit floats.
        prompt_tokens, completion_tokens, cached_tokens: As the API counts them; None if it sent
            no valid count.
        attempts: Requests sent for this row; 0 if it could not be sent.
        latency_s: Latency in seconds of the request that was answered; 0.0 if none was.
        reasoning: The model's thinking.
        tool_calls: Its tool calls, a JSON list.
        responses: The texts of all samples; None for a sample without text.
        logprobs: For each token `token`, `token_id`, `logprob` and `top_logprobs`.
        dropped: Names of further fields of the reply that have no column, comma-separated.
    """

    row: int
    response: str | None
    failure: Failure | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    attempts: int = 0
    latency_s: float = 0.0
    reasoning: str | None = None
    tool_calls: str | None = None
    responses: Sequence[str | None] | None = None
    logprobs: Sequence[Mapping[str, Any]] | None = None
    dropped: str | None = None

    @property
    def error(self) -> str | None:
        """The text for the `error` column."""
        return None if self.failure is None else str(self.failure)


class BadCell(NamedTuple):
    """Placeholder for a cell that cannot be converted to a Python value, with the reason."""

    message: str


class Tally(NamedTuple):
    """Totals over answers: rows, tokens and requests; `done` includes failed rows."""

    done: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    requests: int = 0

    def __add__(self, other: "Tally") -> "Tally":  # type: ignore[override]
        return Tally(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def plus(self, answer: Answer) -> "Tally":
        """Return the tally with one more answer."""
        return self.with_all([answer])

    def with_all(self, answers: Sequence[Answer]) -> "Tally":
        """Return the tally with more answers; an unknown count adds nothing."""
        done, failed, prompt, completion, cached, requests = self
        # A loop: most calls have few answers, for which transposing would take longer.
        for answer in answers:
            failure, _, of_prompt, of_completion, of_cache, attempts = answer[2:8]
            if failure is not None:
                failed += 1
            if of_prompt:
                prompt += of_prompt
            if of_completion:
                completion += of_completion
            if of_cache:
                cached += of_cache
            requests += attempts
        done += len(answers)
        return Tally(done, failed, prompt, completion, cached, requests)


EMPTY_TALLY = Tally()


def as_count(value: object) -> int | None:
    """Return a server's token count; None if it is not a valid count.

    Text and whole floats are accepted; booleans, fractions, negative numbers and numbers above
    `MAX_TOKENS` are not counts.
    """
    if isinstance(value, str) and len(value) <= 32:
        try:
            value = float(value) if "." in value or "e" in value.lower() else int(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value <= MAX_TOKENS or value != int(value):
        return None
    return int(value)


def added(counts: Sequence[int | None]) -> int | None:
    """Return the sum of the known counts; None if there is none."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
