"""Parse and validate the bodies of completions and embeddings.

Source: Together API, POST /v1/completions and /v1/embeddings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from together_emulator.http.fields import only, wrong
from together_emulator.inference.chat_request import (
    SAMPLING,
    Sampling,
    missing,
    read_sampling,
    required_text,
)
from together_emulator.inference.text import token_count

_COMPLETION = frozenset({*SAMPLING, "prompt"})
_MOST_INPUTS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A completion request; a prompt that is too long is never truncated."""

    sampling: Sampling
    prompt: str
    prompt_tokens: int
    truncate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Embed:
    """Texts to embed."""

    model: str
    texts: list[str]


def read_completion(body: Mapping[str, Any], *, strict: bool = False) -> Completion:
    """Read a completion's body (400); `strict` rejects unknown fields."""
    if strict:
        only(body, _COMPLETION, "field")
    prompt = required_text(body, "prompt")
    return Completion(
        sampling=read_sampling(body), prompt=prompt, prompt_tokens=1 + token_count(prompt)
    )


def read_embed(body: Mapping[str, Any], *, strict: bool = False) -> Embed:
    """Read the body of an embeddings request (400); `strict` rejects unknown fields."""
    if strict:
        only(body, ("model", "input"), "field")
    model = required_text(body, "model")
    given = body.get("input")
    if given is None:
        raise missing("input")
    texts = [given] if isinstance(given, str) else given
    if (
        not isinstance(texts, list)
        or not 0 < len(texts) <= _MOST_INPUTS
        or not all(isinstance(text, str) and text for text in texts)
    ):
        raise wrong("input", f"a non-empty string, or a list of 1 to {_MOST_INPUTS} of them", given)
    return Embed(model=model, texts=texts)
