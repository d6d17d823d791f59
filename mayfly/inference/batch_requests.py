"""Rows that are OpenAI-batch requests: each line's `body` is the request as it is.

Source: OpenAI API, Batch, the request input object: `custom_id`, `method`, `url`, `body`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from mayfly.models.errors import BadRequest
from mayfly.models.job import PromptSpec

PATHS = ("chat/completions", "completions", "embeddings")
BODY = "body"

OURS = frozenset({"model", "stream", "stream_options"})
"""Fields that the run sets itself: what the endpoint is called, and whole answers."""

_EMBEDDING_FIELDS = frozenset({"model", "input", "encoding_format", "user"})

Named = tuple[Sequence[str], Sequence[str]]
"""Models and URLs that the lines of an input name; see `Dataset.requests`."""


def requests_path(named: Named | None, prompt: PromptSpec) -> str | None:
    """Return what requests of an input are posted to; None where a prompt makes the requests.

    Raises:
        BadRequest: Lines for several URLs, or one that is not served.
    """
    asked = prompt.template, prompt.messages_column, prompt.embed_column
    if named is None or prompt.completions or any(given is not None for given in asked):
        return None
    urls = named[1] or ("/v1/chat/completions",)
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


def check_model(named: Named, model: str) -> None:
    """Refuse requests for other models than the run's.

    Raises:
        BadRequest: Names one.
    """
    if others := [name for name in named[0] if name != model]:
        raise BadRequest(
            f"--model {model}: the input has requests for {others[0]}; "
            "give that, or leave the model out of the lines"
        )


def as_requests(prompt: PromptSpec, path: str | None) -> PromptSpec:
    """Return the prompt of an input of requests: one that embeds has its texts in `body`."""
    return PromptSpec(embed_column=BODY) if path == "embeddings" else prompt


def request_fields(before: Mapping[str, Any]) -> Callable[[dict[str, Any]], bytes]:
    """Return what makes a row's part of a body: its own fields over those of the options.

    Args:
        before: Fields that the job's options set, which a line's own win over.

    The result raises ValueError for a row whose `body` cannot be sent.
    """

    def render(cells: dict[str, Any]) -> bytes:
        body = cells[BODY]
        if not isinstance(body, dict):
            raise TypeError("body is not an object")
        fields = {**before, **body}
        for name in OURS:
            fields.pop(name, None)
        if not fields:
            raise ValueError("body has nothing but a model")
        return orjson.dumps(fields)[1:-1]

    return render


def embedding_text(cells: dict[str, Any]) -> str | None:
    """Return the text that a line asks to embed.

    Raises:
        ValueError: A line that cannot share a request with others.
    """
    body = cells[BODY]
    if not isinstance(body, dict):
        raise TypeError("body is not an object")
    if more := body.keys() - _EMBEDDING_FIELDS:
        raise ValueError(f"body has {min(more)}, which rows that share a request cannot have")
    given = body.get("input")
    if isinstance(given, list) and len(given) == 1:
        [given] = given
    if given is not None and not isinstance(given, str):
        raise TypeError("body has an input that is no text; give one text a line")
    return given
