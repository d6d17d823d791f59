"""Estimate the tokens of a job: prompts from a sample of its rows, answers from earlier runs.

Prompts are counted with the model's tokenizer where it is available locally, otherwise from a
ratio of tokens to characters that finished runs correct. Answers are estimated, in order of
preference, from earlier answers in the same output, from runs with the same prompt, from runs of
the same model, and from `max_tokens`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mayfly.planning.measurements import Measurement
from mayfly.planning.prompt_sizes import PromptSizes
from mayfly.planning.uncertainty import Estimate, combined_estimate

TOKENS_PER_ASCII = 1 / 4
TOKENS_PER_OTHER = 0.7
"""Tokens per character: English text has about four characters per token; other scripts, whose
characters take more bytes, one or two. Source: byte-pair vocabularies of about 150,000 tokens."""

RATIO_SPREAD = 0.2
"""Spread of an uncorrected ratio: 90 % of texts are within a factor of 1.4."""

COUNTED_SPREAD = 0.04
"""Spread of a tokenizer's count: chat templates add tokens."""

LEARNED_SPREAD = 0.08
"""Smallest spread of an estimate from finished runs, however many: data differ."""

PRIOR_RESPONSE = Estimate(250.0, 0.9)
"""Tokens of an answer without any evidence, not even a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Some rows of the input, spread over it, as they would be sent.

    Attributes:
        rows: Rows of the whole job.
        tokens: Tokens of each sampled prompt: counted, or estimated from its characters.
        counted: Whether a tokenizer counted them.
        body_bytes: Mean size of a request.
        unsendable: Share of the sampled rows that could not be rendered.
    """

    rows: int
    tokens: tuple[float, ...]
    counted: bool = False
    body_bytes: float = 0.0
    unsendable: float = 0.0

    @property
    def mean(self) -> float:
        """Mean prompt tokens of the sample; at least 1."""
        return max(1.0, sum(self.tokens) / len(self.tokens)) if self.tokens else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The size of a job.

    Attributes:
        rows: Rows to answer.
        prompt, answer: Tokens of one row.
        guessed_prompt: Tokens of one prompt estimated from its characters, before correction by
            finished runs; 0 when they were counted.
        basis: Sources of the figures, for people.
        sizes: Distribution of prompt lengths; None when no row could be rendered.
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
        """Prompt tokens of all rows."""
        return self.prompt.scaled(self.rows)

    @property
    def answer_tokens(self) -> Estimate:
        """Completion tokens of all rows."""
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
class EarlierResponses:
    """Totals of the responses that this output already holds."""

    rows: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


def guessed_tokens(text: str) -> float:
    """Estimate the tokens of a text from its characters."""
    other = 0 if text.isascii() else sum(character > "\x7f" for character in text)
    return (len(text) - other) * TOKENS_PER_ASCII + other * TOKENS_PER_OTHER


def workload(
    sample: Sample,
    *,
    rows: int,
    model: str,
    prompt_key: str,
    max_tokens: int | None,
    past: Sequence[Measurement] = (),
    earlier: EarlierResponses | None = None,
    answers: bool = True,
) -> Workload:
    """Estimate the workload of `rows` rows of the sampled job.

    Args:
        prompt_key: Digest of prompt and sampling; see `Measurement`.
        past: Finished runs with the same provider, oldest first.
        earlier: Responses of earlier runs into the same output.
        answers: False for embeddings, which have no completion tokens.
    """
    prompt, prompt_basis = prompt_tokens(sample, model=model, past=past, earlier=earlier)
    if answers:
        answer, answer_basis = answer_tokens(
            model=model, prompt_key=prompt_key, max_tokens=max_tokens, past=past, earlier=earlier
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
    sample: Sample, *, model: str, past: Sequence[Measurement], earlier: EarlierResponses | None
) -> tuple[Estimate, str]:
    """Return the tokens of one prompt, and the source of the figure."""
    count = len(sample.tokens)
    if earlier is not None and earlier.rows >= 64 and earlier.prompt_tokens:
        mean = earlier.prompt_tokens / earlier.rows
        return Estimate(
            mean, LEARNED_SPREAD + 0.5 / math.sqrt(earlier.rows)
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
        learned = combined_estimate(ratios[-8:])
        ratio = Estimate(learned.mid, max(learned.spread, LEARNED_SPREAD))
        basis = f"characters of {count:,} rows, corrected by {_runs(len(ratios))}"
    else:
        ratio, basis = Estimate(1.0, RATIO_SPREAD), f"characters of {count:,} rows"
    return ratio.scaled(sample.mean).wider(sampling), f"prompts from the {basis}"


def answer_tokens(
    *,
    model: str,
    prompt_key: str,
    max_tokens: int | None,
    past: Sequence[Measurement],
    earlier: EarlierResponses | None,
) -> tuple[Estimate, str]:
    """Return the tokens of one answer, and the source of the figure."""
    if earlier is not None and earlier.rows >= 64 and earlier.completion_tokens:
        # Short answers arrive first, so the spread stays at least this wide.
        spread = LEARNED_SPREAD + 0.7 / math.sqrt(earlier.rows)
        return Estimate(earlier.completion_tokens / earlier.rows, spread), "answers in this output"
    of_model = [r for r in past if r.model == model and r.answered and r.completion_tokens]
    same = [record for record in of_model if prompt_key and record.prompt_key == prompt_key]
    if same:
        combined = combined_estimate(
            Estimate(r.answer_tokens, LEARNED_SPREAD + 0.7 / math.sqrt(r.answered))
            for r in same[-8:]
        )
        estimate = Estimate(combined.mid, max(combined.spread, LEARNED_SPREAD))
        basis = f"answers of {_runs(len(same))} of the same prompt"
    elif of_model:
        combined = combined_estimate(
            Estimate(record.answer_tokens, 0.6) for record in of_model[-8:]
        )
        estimate = Estimate(combined.mid, max(combined.spread, 0.6))
        basis = f"answers of {_runs(len(of_model))} of the model with a different prompt"
    elif max_tokens is not None:
        # Short limits are mostly reached, long limits hardly ever.
        estimate = Estimate(max(1.0, min(0.6 * max_tokens, 100 + 0.15 * max_tokens)), 0.75)
        basis = f"output length estimated from --max-tokens {max_tokens}"
    else:
        estimate, basis = PRIOR_RESPONSE, "output length estimated (no --max-tokens, no history)"
    if max_tokens is not None and estimate.mid > max_tokens:
        estimate = Estimate(float(max_tokens), estimate.spread)
    return estimate, basis


def _runs(count: int) -> str:
    return f"{count} finished run{'' if count == 1 else 's'}"


def _standard_error(sample: Sample) -> float:
    """Return the standard error of the sample's mean; 0 when every row was sampled."""
    count = len(sample.tokens)
    if count < 2 or count >= sample.rows:
        return 0.0 if count >= sample.rows else sample.mean * 0.5
    mean = sum(sample.tokens) / count
    variance = sum((tokens - mean) ** 2 for tokens in sample.tokens) / (count - 1)
    return math.sqrt(variance / count * (1 - count / sample.rows))
