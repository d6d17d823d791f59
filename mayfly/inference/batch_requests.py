"""Rows that are OpenAI-batch requests: each line's `body` is the request as it is.

Source: OpenAI API, Batch, the request input object: `custom_id`, `method`, `url`, `body`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from mayfly.inference.cell_text import RowError
from mayfly.inference.responses import LOGPROBS, RESPONSES
from mayfly.models.batch_lines import BatchLines
from mayfly.models.errors import BadRequest
from mayfly.models.failures import BAD_BODY
from mayfly.models.job import PromptSpec, Sampling

PATHS = ("chat/completions", "completions", "embeddings")
BODY = "body"

OURS = frozenset({"model", "stream", "stream_options"})
"""Fields that the run sets itself: the model's name, and no streaming."""

_EMBEDDING_FIELDS = frozenset({"model", "input", "encoding_format", "user"})


def asked_by(lines: BatchLines | None, prompt: PromptSpec) -> BatchLines | None:
    """Return the lines if the rows are requests; None if a prompt makes the requests."""
    given = prompt.template, prompt.messages_column, prompt.embed_column
    named = prompt.completions or any(each is not None for each in given)
    return None if named else lines


def path_of(lines: BatchLines) -> str:
    """Return the path of the requests, below the inference URL.

    Raises:
        BadRequest: Lines for several URLs, or for one that is not supported.
    """
    urls = lines.urls or ("/v1/chat/completions",)
    paths = dict.fromkeys(url.strip("/").removeprefix("v1/") for url in urls)
    if len(paths) > 1:
        raise BadRequest(
            f"the input has requests for several URLs ({', '.join(urls)}); give one file for each"
        )
    [path] = paths
    if path not in PATHS:
        raise BadRequest(
            f"the input has requests for {urls[0]}; give requests for "
            f"{', '.join(f'/v1/{known}' for known in PATHS)}"
        )
    return path


def check_model(lines: BatchLines, model: str) -> None:
    """Reject requests for other models than the run's.

    Raises:
        BadRequest: A line names another model.
    """
    if others := [name for name in lines.models if name != model]:
        raise BadRequest(
            f"--model {model}: the input has requests for {others[0]}; "
            "give that, or leave the model out of the lines"
        )


def as_requests(
    prompt: PromptSpec, sampling: Sampling, lines: BatchLines | None
) -> tuple[PromptSpec, Sampling]:
    """Return a prompt and sampling with the output columns that the requests need."""
    if lines is None:
        return prompt, sampling
    path = path_of(lines)
    if path == "embeddings":
        return PromptSpec(embed_column=BODY), sampling
    more: dict[str, int] = {}
    if lines.samples > 1 and sampling.samples is None:
        more["samples"] = lines.samples
    if lines.logprobs and sampling.logprobs is None:
        more["logprobs"] = 1
    return PromptSpec(completions=path == "completions"), sampling.model_copy(update=more)


def keeps_of(sampling: Sampling) -> frozenset[str]:
    """Return the optional parts of a reply that have output columns."""
    given = {RESPONSES: sampling.samples, LOGPROBS: sampling.logprobs}
    return frozenset(name for name, asked in given.items() if asked is not None)


def request_fields(before: Mapping[str, Any]) -> Callable[[Any], bytes]:
    """Return a function that renders a row's part of a body: its fields over those of the options.

    Args:
        before: Fields that the job's options set; a line's own fields win.

    The function raises RowError for a row with a `body` that cannot be sent.
    """

    def render(body: Any) -> bytes:
        if not isinstance(body, dict):
            raise RowError(BAD_BODY, "body is not an object")
        fields = {**before, **body}
        for name in OURS:
            fields.pop(name, None)
        if not fields:
            raise RowError(BAD_BODY, "body has nothing but a model")
        return orjson.dumps(fields)[1:-1]

    return render


def embedding_text(body: Any) -> str | None:
    """Return the text that a line embeds.

    Raises:
        ValueError, TypeError: A line that cannot share a request with others.
    """
    if not isinstance(body, dict):
        raise TypeError("body is not an object")
    if more := body.keys() - _EMBEDDING_FIELDS:
        raise ValueError(f"body has {min(more)}, which rows that share a request cannot have")
    given = body.get("input")
    if isinstance(given, list) and len(given) == 1:
        [given] = given
    if given is not None and not isinstance(given, str):
        raise TypeError("body has an input that is not text; give one text per line")
    return given
