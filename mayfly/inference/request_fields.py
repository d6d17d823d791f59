"""The fields of a request besides its prompt: from options, for every request, and per row.

In order of increasing precedence: options, `--body`, `--body-column`.

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
    """Return the fields of every request besides its prompt."""
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
    """Return the fields that control reasoning: on or off, or its effort."""
    if asked is None:
        return {}
    if asked in ("on", "off"):
        return {"reasoning": {"enabled": asked == "on"}}
    return {"reasoning_effort": asked}


def with_row(fields: Mapping[str, Any], cell: Any) -> dict[str, Any]:
    """Return the fields, overridden by a row's own.

    Args:
        cell: An object, its JSON, or None.

    Raises:
        RowError: It is none of these, or sets a field that the job sets.
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
    """Return fields as JSON members to append to an object, each preceded by a comma."""
    return b"," + orjson.dumps(fields)[1:-1] if fields else b""


def _over(fields: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Return both merged, the later winning; null leaves a field to the endpoint."""
    return {name: value for name, value in {**fields, **later}.items() if value is not None}
