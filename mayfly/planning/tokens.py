"""How many tokens a job has: prompts from a sample of its rows, answers from what is known.

Prompts are counted by the model's tokenizer where one is at hand, otherwise by a ratio of tokens
to characters that finished runs correct. Answers cannot be counted beforehand: the best evidence
is this output's own earlier answers, then runs that asked the same, then runs of the same model,
then `max_tokens`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mayfly.planning.measurements import Measurement
from mayfly.planning.prompt_sizes import PromptSizes
from mayfly.planning.uncertainty import Estimate, weighed

TOKENS_PER_ASCII = 1 / 4
TOKENS_PER_OTHER = 0.7
"""Per character: English text has about four characters in a token; other scripts, whose
characters take more bytes, have one or two. Source: byte-pair vocabularies of about 150,000."""

RATIO_SPREAD = 0.2
"""Doubt of an uncorrected ratio: 9 of 10 texts within a factor of 1.4."""

COUNTED_SPREAD = 0.04
"""Doubt of a count: chat templates add tokens of their own."""

LEARNED_SPREAD = 0.08
"""Doubt of what finished runs taught, however many they were: data differ."""

PRIOR_ANSWER = Estimate(250.0, 0.9)
"""Tokens of an answer of which nothing is known, not even a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Some rows of the input, spread over it, as they would be sent.

    Attributes:
        rows: Of the whole job.
        tokens: Of each sampled row's prompt: counted, or guessed from its characters.
        counted: Whether a tokenizer counted them.
        body_bytes: Of one request, on average.
        unsendable: Share of the sampled rows that cannot be sent.
    """

    rows: int
    tokens: tuple[float, ...]
    counted: bool = False
    body_bytes: float = 0.0
    unsendable: float = 0.0

    @property
    def mean(self) -> float:
        """Prompt tokens of a row, on average over the sample; at least 1."""
        return max(1.0, sum(self.tokens) / len(self.tokens)) if self.tokens else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What a job amounts to.

    Attributes:
        rows: To be answered.
        prompt, answer: Tokens of one row.
        guessed_prompt: Tokens of one prompt as guessed from its characters, before anything that
            was learned corrects them; 0 where they were counted.
        basis: Where the figures come from, in words.
        sizes: How long the prompts are; None where no row could be rendered.
    """

    rows: int
    prompt: Estimate
    answer: Estimate
    body_bytes: float = 0.0
    guessed_prompt: float = 0.0
    basis: tuple[str, ...] = field(default=())
    sizes: PromptSizes | None = None

    @property
    def prompt_tokens(self) -> Estimate:
        """Of all rows."""
        return self.prompt.scaled(self.rows)

    @property
    def answer_tokens(self) -> Estimate:
        """Of all rows."""
        return self.answer.scaled(self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "rows": self.rows,
            "prompt_tokens": self.prompt_tokens.interval.as_dict(),
            "completion_tokens": self.answer_tokens.interval.as_dict(),
            "prompt_tokens_per_row": self.prompt.interval.as_dict(),
            "completion_tokens_per_row": self.answer.interval.as_dict(),
            "basis": list(self.basis),
            "prompt_sizes": None if self.sizes is None else self.sizes.as_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Answers of this very job that are there already."""

    rows: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


def guessed_tokens(text: str) -> float:
    """Return about how many tokens a text has, by its characters."""
    other = 0 if text.isascii() else sum(character > "\x7f" for character in text)
    return (len(text) - other) * TOKENS_PER_ASCII + other * TOKENS_PER_OTHER


def workload(
    sample: Sample,
    *,
    rows: int,
    model: str,
    ask: str,
    max_tokens: int | None,
    past: Sequence[Measurement] = (),
    seen: Seen | None = None,
    answers: bool = True,
) -> Workload:
    """Return what `rows` rows of the sampled job amount to.

    Args:
        ask: What identifies the question (prompt and sampling), see `Measurement.ask`.
        past: Finished runs with the same provider, oldest first.
        seen: What earlier runs into the same output have answered.
        answers: False for embeddings, which have none.
    """
    prompt, prompt_basis = prompt_tokens(sample, model=model, past=past, seen=seen)
    if answers:
        answer, answer_basis = answer_tokens(
            model=model, ask=ask, max_tokens=max_tokens, past=past, seen=seen
        )
    else:
        answer, answer_basis = Estimate(1e-9, 0.0), "no answers: embeddings"
    return Workload(
        rows=rows,
        prompt=prompt,
        answer=answer,
        body_bytes=sample.body_bytes,
        guessed_prompt=0.0 if sample.counted else sample.mean,
        basis=(prompt_basis, answer_basis),
        sizes=PromptSizes.of_sample(sample.tokens, rows=rows, mean=prompt.mid),
    )


def prompt_tokens(
    sample: Sample, *, model: str, past: Sequence[Measurement], seen: Seen | None
) -> tuple[Estimate, str]:
    """Return the tokens of one prompt, and where the figure comes from."""
    count = len(sample.tokens)
    if seen is not None and seen.rows >= 64 and seen.prompt_tokens:
        mean = seen.prompt_tokens / seen.rows
        return Estimate(
            mean, LEARNED_SPREAD + 0.5 / math.sqrt(seen.rows)
        ), "prompts answered so far"
    sampling = _standard_error(sample) / sample.mean
    if sample.counted:
        return (
            Estimate(sample.mean, COUNTED_SPREAD).wider(sampling),
            f"prompts of {count:,} rows counted by the model's tokenizer",
        )
    ratios = [
        Estimate(record.token_ratio, LEARNED_SPREAD)
        for record in past
        if record.model == model and record.token_ratio
    ]
    if ratios:
        learned = weighed(ratios[-8:])
        ratio = Estimate(learned.mid, max(learned.spread, LEARNED_SPREAD))
        basis = f"characters of {count:,} rows, corrected by {_runs(len(ratios))}"
    else:
        ratio, basis = Estimate(1.0, RATIO_SPREAD), f"characters of {count:,} rows"
    return ratio.scaled(sample.mean).wider(sampling), f"prompts from the {basis}"


def answer_tokens(
    *, model: str, ask: str, max_tokens: int | None, past: Sequence[Measurement], seen: Seen | None
) -> tuple[Estimate, str]:
    """Return the tokens of one answer, and where the figure comes from."""
    if seen is not None and seen.rows >= 64 and seen.completion_tokens:
        # The rows that are back first are the short ones: hence no less doubt than this.
        spread = LEARNED_SPREAD + 0.7 / math.sqrt(seen.rows)
        return Estimate(
            seen.completion_tokens / seen.rows, spread
        ), "answers that are there already"
    of_model = [r for r in past if r.model == model and r.answered and r.completion_tokens]
    same = [record for record in of_model if ask and record.ask == ask]
    if same:
        told = weighed(
            Estimate(r.answer_tokens, LEARNED_SPREAD + 0.7 / math.sqrt(r.answered))
            for r in same[-8:]
        )
        estimate = Estimate(told.mid, max(told.spread, LEARNED_SPREAD))
        basis = f"answers of {_runs(len(same))} of the same prompt"
    elif of_model:
        told = weighed(Estimate(record.answer_tokens, 0.6) for record in of_model[-8:])
        estimate = Estimate(told.mid, max(told.spread, 0.6))
        basis = f"answers of {_runs(len(of_model))} of the model with a different prompt"
    elif max_tokens is not None:
        # Short limits are mostly reached, long ones hardly ever.
        estimate = Estimate(max(1.0, min(0.6 * max_tokens, 100 + 0.15 * max_tokens)), 0.75)
        basis = f"output length estimated from --max-tokens {max_tokens}"
    else:
        estimate, basis = PRIOR_ANSWER, "output length estimated (no --max-tokens, no history)"
    if max_tokens is not None and estimate.mid > max_tokens:
        estimate = Estimate(float(max_tokens), estimate.spread)
    return estimate, basis


def _runs(count: int) -> str:
    return f"{count} finished run{'' if count == 1 else 's'}"


def _standard_error(sample: Sample) -> float:
    """Return the standard error of the sample's mean; nothing when every row was looked at."""
    count = len(sample.tokens)
    if count < 2 or count >= sample.rows:
        return 0.0 if count >= sample.rows else sample.mean * 0.5
    mean = sum(sample.tokens) / count
    variance = sum((tokens - mean) ** 2 for tokens in sample.tokens) / (count - 1)
    return math.sqrt(variance / count * (1 - count / sample.rows))
