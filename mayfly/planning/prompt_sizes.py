"""The distribution of prompt lengths, and how many rows exceed the model's context."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSizes:
    """Prompt tokens of the sampled rows, which represent all rows.

    Attributes:
        rows: Rows of the job.
        tokens: Tokens of each sampled prompt, ascending; at least one.
    """

    rows: int
    tokens: tuple[float, ...]

    @classmethod
    def of_sample(cls, tokens: Sequence[float], *, rows: int, mean: float) -> "PromptSizes | None":
        """Return the sizes of a sample, scaled to a mean; None for an empty sample.

        Args:
            mean: Mean prompt tokens, as corrected by finished runs.
        """
        total = sum(tokens)
        if not total:
            return None
        factor = mean * len(tokens) / total
        return cls(rows=rows, tokens=tuple(sorted(count * factor for count in tokens)))

    def quantile(self, share: float) -> int:
        """Return the prompt length in tokens at a quantile (0 to 1)."""
        return round(self.tokens[min(int(share * len(self.tokens)), len(self.tokens) - 1)])

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt of the sample."""
        return round(self.tokens[-1])

    def over(self, tokens: float) -> int:
        """Estimate how many of all rows have a prompt longer than `tokens`."""
        above = sum(1 for count in self.tokens if count > tokens)
        return round(self.rows * above / len(self.tokens))

    def histogram(self) -> list[dict[str, int]]:
        """Estimate the rows in each bin (`up_to` / 2, `up_to`]; bins are powers of two."""
        exponents = Counter(max(0, math.ceil(math.log2(max(count, 1)))) for count in self.tokens)
        return [
            {
                "up_to": 2**exponent,
                "rows": round(self.rows * exponents[exponent] / len(self.tokens)),
            }
            for exponent in range(min(exponents), max(exponents) + 1)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "p50": self.quantile(0.5),
            "p90": self.quantile(0.9),
            "p99": self.quantile(0.99),
            "longest": self.longest,
            "sampled_rows": len(self.tokens),
            "histogram": self.histogram(),
        }
