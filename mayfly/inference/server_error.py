"""Parse error bodies of any shape.

Source: Together API, error codes; the error bodies of vLLM, SGLang, TGI, FastAPI and gRPC gateways.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from mayfly.inference.reply_body import NOT_JSON, decompressed, loads
from mayfly.models.failures import INTERNAL, Failure
from mayfly.models.http_errors import ERROR_FIELDS, error_message, word

MAX_MESSAGE_CHARS = 500
"""Maximum characters of a server's message in a row's error."""


class ServerError(NamedTuple):
    """An error reported by a server.

    Attributes:
        status: HTTP status; for an error in the body of a 200, the status that its code implies.
        code: The body's code, or "" if it has none besides the status.
    """

    status: int
    code: str
    message: str


def read_error(status: int, body: bytes) -> ServerError:
    """Parse the body of a response that is not 200; if it is not JSON, keep its beginning."""
    value: Any
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = loads(body)
    code, message = ("", "") if value is NOT_JSON else error_message(value)
    if not message:
        message = decompressed(body)[: 4 * MAX_MESSAGE_CHARS].decode(errors="replace").strip()
    message = message or "the response has no body"
    return ServerError(status, *_once(status, code, message))


def error_in(value: dict[str, Any]) -> ServerError | None:
    """Return the error in the body of a 200, or None if there is none."""
    is_error = value.get("object") == "error" or "detail" in value
    is_error = is_error or ("choices" not in value and isinstance(value.get("message"), str))
    if not (is_error or any(value.get(name) for name in ERROR_FIELDS)):
        return None
    code, message = error_message(value)
    if not message:
        message = json.dumps(value, ensure_ascii=False)
    kinds = [*_bodies(value)]
    status = next(
        (
            number
            for body in kinds
            for name in ("code", "status", "status_code", "error_code", "error")
            if (number := _status(body.get(name))) is not None
        ),
        None,
    )
    if status is None:
        type_ = next((str(body["type"]) for body in kinds if body.get("type")), "")
        status = _implied(f"{code} {type_}".lower())
    return ServerError(status, *_once(status, code, message))


def _bodies(value: Any, depth: int = 4) -> Iterator[dict[str, Any]]:
    """Yield an error's objects, the innermost first."""
    if isinstance(value, list):
        for one in value:
            yield from _bodies(one, depth - 1)
    elif isinstance(value, dict):
        if depth > 0:
            for name in ERROR_FIELDS:
                yield from _bodies(value.get(name), depth - 1)
        yield value


def short(text: str) -> str:
    """Return a text in one line, truncated to `MAX_MESSAGE_CHARS`."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 1] + "…"


def internal_failure(error: Exception, attempts: int) -> Failure:
    """Return the failure of a row with an answer that mayfly could not process."""
    message = short(f"mayfly could not process the answer: {type(error).__name__}: {error}")
    return Failure(INTERNAL, message, 200, attempts=attempts)


def _once(status: int, code: str, message: str) -> tuple[str, str]:
    """Return code and message without repetitions of the status or of each other."""
    message = short(message)
    if code == str(status):
        code = ""
    for said in (f"Error code: {status}", f"HTTP {status}", str(status), code):
        if said and message[: len(said)].lower() == said.lower():
            rest = message[len(said) :]
            # Only if it is a separate word, and the rest is not empty.
            if rest[:1] in (":", "-", " ", ",") and rest.strip(":-, "):
                message = rest.lstrip(":-, ")
    return code, message


def _status(value: Any) -> int | None:
    text = word(value)
    return (
        int(text)
        if len(text) == 3 and text.isascii() and text.isdigit() and (400 <= int(text) < 600)
        else None
    )


def _implied(names: str) -> int:
    """Return the status that an error's names imply; 500 if none does."""
    for message, status in _STATUS_OF:
        if any(word in names for word in message):
            return status
    return 500


_STATUS_OF: tuple[tuple[tuple[str, ...], int], ...] = (
    (("rate_limit", "ratelimit", "too_many_requests", "resource_exhausted", "_limited"), 429),
    (("overload", "unavailable", "capacity", "queue_full", "routing_error"), 503),
    (("timeout", "timed_out", "deadline"), 504),
    (("insufficient_quota", "billing", "payment", "credit"), 402),
    (("invalid_api_key", "authentication", "unauthorized", "unauthenticated"), 401),
    (("permission", "forbidden", "access_denied"), 403),
    (("not_found", "notfound", "model_not_available"), 404),
    (("internal", "server_error", "engine"), 500),
    (
        (
            "invalid",
            "bad_request",
            "badrequest",
            "validation",
            "context_length",
            "content_filter",
            "content_policy",
            "unsupported",
            "unprocessable",
            "too_long",
            "endpoint_not_configured",
            "dedicated_endpoint_not_running",
            "streaming_required",
        ),
        400,
    ),
)
