"""HTTP errors of both APIs: which are retryable, how long to wait, and the server's message.

Pure: bodies are passed parsed, headers through a function. Inference and the control plane share
this module, so that they treat errors alike.

Source: Together API, error codes and rate limits; RFC 9110, section 10.2.3 (Retry-After).
"""

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

RETRYABLE = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 524, 529})
"""The same call may succeed later; so may any other status from 500 on."""

REFUSED_LOAD = frozenset({425, 429, 503, 529})
"""Rejected before any work was done: the server is overloaded, or limits the request rate."""

REFUSED_LOAD_CODES = frozenset(
    {
        "dynamic_request_limited",
        "dynamic_token_limited",
        "engine_overloaded",
        "model_overloaded",
        "overloaded",
        "overloaded_error",
        "rate_limit",
        "rate_limit_exceeded",
        "rate_limit_error",
        "too_many_requests",
    }
)
"""Codes that mean the same under any other status from 400 on.

Source: Together API, rate limits; codes of OpenAI- and Anthropic-compatible servers."""

TIMEOUTS = frozenset({408, 504, 524})
"""A gateway or the server timed out: work may have been done."""

CREDENTIALS = frozenset({401, 402, 403})

MAX_RETRY_AFTER_S = 60.0
"""Upper bound on a server's `Retry-After`: the endpoint is billed while a client waits. Source:
the official SDK's own bound."""

_UNITS_S = (("retry-after-ms", 0.001), ("retry-after", 1.0), ("x-ratelimit-reset", 1.0))


def is_retryable(status: int) -> bool:
    """Whether the same call may succeed later."""
    return status in RETRYABLE or status >= 500


def is_refused_load(status: int, code: str = "") -> bool:
    """Whether a request was rejected because of load, before any work was done."""
    return status in REFUSED_LOAD or (status >= 400 and code.lower() in REFUSED_LOAD_CODES)


def retry_after(header: Callable[[str], str | None]) -> float | None:
    """Return how long the server asks to wait, in seconds, or None if it does not.

    Reads `retry-after-ms`, `retry-after` and `x-ratelimit-reset`: seconds, a duration such as
    `6m0s`, or a date or Unix time, relative to the response's own `date`. Not bounded: see
    `MAX_RETRY_AFTER_S`.

    Args:
        header: Returns a header by its lower-case name.
    """
    for name, unit_s in _UNITS_S:
        if not (text := header(name)):
            continue
        wait_s = _number(text, unit_s)
        if wait_s is None:
            until, sent = _moment(text), _moment(header("date"))
            if until is None or sent is None:
                continue
            wait_s = (until - sent).total_seconds()
        elif EPOCH_S <= wait_s < 10 * EPOCH_S:
            if (sent := _moment(header("date"))) is None:
                continue
            wait_s -= sent.timestamp()
        return max(0.0, wait_s)
    return None


EPOCH_S = 1e9
"""Times from here on, up to the tenfold, are Unix times, as some gateways give them."""

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)(ms|s))?", re.ASCII)


def _number(text: str, unit_s: float) -> float | None:
    """Return a duration in seconds, such as that of `30`, `1.5`, `30s` or `6m0s`; else None."""
    text = text.strip().lower()
    try:
        wait_s = float(text) * unit_s
    except ValueError:
        found = _DURATION.fullmatch(text.replace(" ", "")) if text else None
        if found is None:
            return None
        hours, minutes, number, unit = found.groups(default="0")
        seconds = float(number) * (0.001 if unit == "ms" else 1.0)
        return 3600.0 * int(hours) + 60.0 * int(minutes) + seconds
    return None if math.isnan(wait_s) else wait_s


def _moment(text: str | None) -> datetime | None:
    """Return a date in any form of RFC 9110, or of ISO 8601; without a zone it is in UTC."""
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            found = parse((text or "").strip())
        except (TypeError, ValueError):
            continue
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return None


def bounded_retry_after(header: Callable[[str], str | None]) -> float | None:
    """Return how long to wait at the server's request, in seconds: at most a minute."""
    asked_s = retry_after(header)
    return None if asked_s is None else min(asked_s, MAX_RETRY_AFTER_S)


ERROR_FIELDS = ("error", "errors", "fault", "error_message")
"""Fields that only the body of an error has."""


def error_message(value: Any, depth: int = 4) -> tuple[str, str]:
    """Return the code and the message of a parsed error body of any shape; "" for none.

    Source: together 3.1 CLI: `{"error": {"message", "code"}}` and `{"code", "message"}`; TGI and
    TEI: `{"error": message, "error_type"}`; FastAPI: `{"detail"}`; gRPC gateways: `{"details"}`;
    Cloudflare: `{"errors": [...]}`; Apigee: `{"fault": {"faultstring"}}`; Google: a list of these.
    """
    if isinstance(value, list) and depth > 0:
        found = [error_message(one, depth - 1) for one in value]
        code = next((code for code, _ in found if code), "")
        return code, "; ".join(message for _, message in found if message)
    if not isinstance(value, dict):
        return "", value if isinstance(value, str) else ""
    # TGI: `error` is the message itself, `error_type` its class.
    code = next(filter(None, (word(value.get(name)) for name in _CODES)), "")
    for name in ("error", "errors", "fault"):
        inner = value.get(name)
        if isinstance(inner, str) and inner:
            return code, _with_details(inner, value)
        if isinstance(inner, dict | list) and inner and depth > 0:
            inner_code, message = error_message(inner, depth - 1)
            code = inner_code or code
            if message:
                return code, message
    for name in ("message", "msg", "faultstring", "detail", "error_message"):
        if words := value.get(name):
            return code, _with_details(_flat(words), value)
    return code, ""


_CODES = ("code", "error_type", "error_code")


def _with_details(message: str, value: dict[str, Any]) -> str:
    """Return the message with the details that a gRPC gateway adds, if any."""
    details = value.get("details")
    more = [
        item["detail"]
        for item in (details if isinstance(details, list) else [])
        if isinstance(item, dict) and isinstance(item.get("detail"), str)
    ]
    return "; ".join([message, *more])


def _flat(value: Any) -> str:
    """Return a message of any shape as text: a string, FastAPI's list of errors, or JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(one, dict) and "msg" in one for one in value):
        return "; ".join(
            f"{'.'.join(map(str, where))}: {one['msg']}"
            if isinstance(where := one.get("loc"), list)
            else str(one["msg"])
            for one in value
        )
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return "(not JSON)"


def word(value: Any) -> str:
    """Return a code as text; "" for anything that is not a single word."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    text = str(value)
    return text if len(text) <= 100 and len(text.split()) == 1 else ""
