"""A row's way as values: the request that is sent for it and the answer that is kept."""

from collections.abc import Sequence
from typing import NamedTuple


class RowRequest(NamedTuple):
    """One row, ready to send.

    Attributes:
        row: Position in the input, from 0.
        body: The JSON body of its request; empty when `error` says why there is none.
        error: Why the row cannot be sent (a null prompt, a template that fails), or "".
    """

    row: int
    body: bytes
    error: str = ""


class Answer(NamedTuple):
    """What is known of a row once it is done; exactly one of `response` and `error` is a string.

    Attributes:
        row: Position in the input, from 0.
        attempts: Requests sent for this row; 0 when none could be.
        latency_s: Seconds, of the request that answered; 0.0 when none did.
    """

    row: int
    response: str | None
    error: str | None
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    attempts: int = 0
    latency_s: float = 0.0


class Tally(NamedTuple):
    """Sums over answers: rows and tokens."""

    done: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    requests: int = 0

    def __add__(self, other: "Tally") -> "Tally":  # type: ignore[override]
        return Tally(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def plus(self, answer: Answer) -> "Tally":
        """Return the tally with one answer more; `done` counts failed rows too."""
        return self.with_all([answer])

    def with_all(self, answers: Sequence[Answer]) -> "Tally":
        """Return the tally with answers more."""
        if not answers:
            return self
        _, _, errors, _, *counts, _ = zip(*answers, strict=True)
        failed = len(answers) - errors.count(None)
        return self + Tally(len(answers), failed, *map(sum, counts))


NOTHING = Tally()
