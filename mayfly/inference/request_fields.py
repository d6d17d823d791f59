"""The fields of a request beside its prompt: by options, for every request, and row by row.

A later one wins over an earlier: options, `--body`, `--body-column`.

Source: Together API, chat completions and completions (request fields).
"""

import json
from collections.abc import Mapping
from typing import Any

import orjson

from mayfly.inference.cell_text import RowError, without_nulls
from mayfly.models.failures import BAD_BODY
from mayfly.models.job import PromptSpec, Sampling
from mayfly.models.job_types import RESERVED


def fields_of(prompt: PromptSpec, sampling: Sampling) -> dict[str, Any]:
    """Return what every request has beside its prompt."""
    fields: dict[str, Any] = {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
        "n": sampling.samples,
        "logprobs": sampling.logprobs,
        "tools": None if prompt.tools is None else json.loads(prompt.tools),
        **_reasoning(sampling.reasoning),
    }
    if (schema := sampling.schema_value()) is not None:
        # Source: Together API, chat completions, response_format.
        fields["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        }
    return _over(fields, sampling.body_value())


def _reasoning(asked: str | None) -> dict[str, Any]:
    """Return how thinking is asked for: on or off, or how much of it."""
    if asked is None:
        return {}
    if asked in ("on", "off"):
        return {"reasoning": {"enabled": asked == "on"}}
    return {"reasoning_effort": asked}


def with_row(fields: Mapping[str, Any], cell: Any) -> dict[str, Any]:
    """Return the fields with those of a row's own over them.

    Args:
        cell: An object, its JSON, or None.

    Raises:
        RowError: It is none of these, or sets what comes from the job itself.
    """
    if cell is None:
        return dict(fields)
    if isinstance(cell, str | bytes):
        try:
            cell = orjson.loads(cell)
        except orjson.JSONDecodeError as error:
            raise RowError(BAD_BODY, f"request fields are not JSON: {error}") from error
        own = cell
    else:
        own = without_nulls(cell)
    if not isinstance(own, dict):
        raise RowError(BAD_BODY, "request fields are not an object")
    if taken := [name for name in RESERVED if name in own]:
        raise RowError(BAD_BODY, f"request fields cannot set {taken[0]!r}")
    return _over(fields, own)


def as_members(fields: Mapping[str, Any]) -> bytes:
    """Return fields as they follow others in a JSON object: each with a comma before it."""
    return b"," + orjson.dumps(fields)[1:-1] if fields else b""


def _over(fields: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, the later over the earlier; null leaves a field to the endpoint."""
    return {name: value for name, value in {**fields, **later}.items() if value is not None}
