"""Exponential backoff with full jitter."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """A backoff policy.

    Attributes:
        base_s: Longest wait before the second attempt, in seconds.
        cap_s: Longest wait of all, in seconds.
    """

    base_s: float = 0.5
    cap_s: float = 30.0


def delay_s(
    policy: Backoff,
    attempt: int,
    *,
    retry_after_s: float | None = None,
    uniform: Callable[[float, float], float],
) -> float:
    """Return how long to wait before the next attempt, in seconds.

    Uniform on [0, min(cap_s, base_s * 2**(attempt - 1))]. Retry-After is a floor, to which that
    jitter is added, so that clients refused together do not return together.

    Args:
        attempt: Attempts already made, from 1 (ValueError below).
        uniform: Source of randomness, e.g. random.Random(7).uniform.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    if attempt < 1:
        raise ValueError(f"attempt {attempt}: attempts are counted from 1")
    # The exponent is clamped before use: 2.0**1024 overflows a float.
    longest_s = min(policy.cap_s, policy.base_s * 2.0 ** min(attempt - 1, 60))
    return max(retry_after_s or 0.0, 0.0) + uniform(0.0, longest_s)
