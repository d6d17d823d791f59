"""Parse the log-probabilities of a reply's tokens, in either of the two common formats.

Source: Together API, chat completions, and the SDK's `LogProbs` (parallel lists); OpenAI's (a list
of entries).
"""

import math
from collections.abc import Sequence
from typing import Any

from mayfly.inference.choice_text import text_of
from mayfly.models.rows import as_count


def token_logprobs(given: Any) -> list[dict[str, Any]] | None:
    """Return one entry per token, from parallel lists or from a list of entries."""
    if isinstance(given, list):
        given = {"content": given}
    if not isinstance(given, dict):
        return None
    tokens = given.get("tokens")
    # Those of a refusal have a list of their own.
    entries = next((each for name in _ENTRIES if (each := given.get(name))), given.get("content"))
    if isinstance(entries, list) and (entries or not tokens):
        return [
            _token(
                _named(entry),
                entry.get("token_id"),
                entry.get("logprob"),
                entry.get("top_logprobs"),
            )
            for entry in entries
            if isinstance(entry, dict)
        ]
    if not isinstance(tokens, list):
        return None
    ids, numbers = (
        _side_by_side(given.get(name), len(tokens)) for name in ("token_ids", "token_logprobs")
    )
    tops = _tops(given.get("top_logprobs"), tokens)
    return [_token(*entry) for entry in zip(tokens, ids, numbers, tops, strict=True)]


_ENTRIES = ("content", "refusal")


def _named(entry: dict[str, Any]) -> Any:
    """Return an entry's token, from its bytes if it has no text."""
    raw = entry.get("bytes")
    if entry.get("token") is None and isinstance(raw, list):
        try:
            return bytes(raw).decode(errors="replace")
        except (TypeError, ValueError):
            return None
    return entry.get("token")


def _side_by_side(given: Any, length: int) -> Sequence[Any]:
    if isinstance(given, list) and len(given) == length:
        return given
    return [None] * length


def _tops(given: Any, tokens: Sequence[Any]) -> Sequence[Any]:
    """Return the likeliest tokens at each position.

    Together's schema has one object for a whole answer, without a position. It is kept with the
    last token that it names, or else with the last token: the only one of a classification.
    """
    if not isinstance(given, dict) or not given or not tokens:
        return _side_by_side(given, len(tokens))
    named = [at for at, token in enumerate(tokens) if isinstance(token, str) and token in given]
    found: list[Any] = [None] * len(tokens)
    found[named[-1] if named else -1] = given
    return found


def _token(token: Any, token_id: Any, logprob: Any, top: Any) -> dict[str, Any]:
    if isinstance(top, dict):
        others: list[dict[str, Any]] | None = [
            # vLLM may have an object with rank and text for each.
            {
                "token": name,
                "logprob": _number(one.get("logprob") if isinstance(one, dict) else one),
            }
            for name, one in top.items()
        ]
    elif isinstance(top, list):
        others = [
            {"token": text_of(one.get("token")), "logprob": _number(one.get("logprob"))}
            for one in top
            if isinstance(one, dict)
        ]
    else:
        others = None
    return {
        "token": text_of(token),
        "token_id": as_count(token_id),
        "logprob": _number(logprob),
        "top_logprobs": others,
    }


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
