"""Row failures: a class for programs and a message for people.

Inside the process a failure is an object. Its text is what the `error` column of a part holds; the
text can be parsed, because dead letters are made from parts.
"""

import re
from typing import NamedTuple, Self

NULL_PROMPT = "null_prompt"
TEMPLATE = "template"
BAD_MESSAGES = "bad_messages"
INVALID_REQUEST = "invalid_request"
TOO_LONG = "too_long"
REFUSED = "refused"
NOT_FOUND = "not_found"
RATE_LIMITED = "rate_limited"
OVERLOADED = "overloaded"
TIMEOUT = "timeout"
SERVER_ERROR = "server_error"
NO_ANSWER = "no_answer"
UNREADABLE = "unreadable"
NO_TEXT = "no_text"
REFUSAL = "refusal"
CUT_THINKING = "cut_while_thinking"
FILTERED = "filtered"
BAD_CELL = "bad_cell"
BAD_BODY = "bad_body"
BAD_MEDIA = "bad_media"
MEDIA_FILE = "media_file"
INTERNAL = "internal"
SCHEMA = "schema"
OTHER = "other"

UNSENDABLE = frozenset({NULL_PROMPT, BAD_MESSAGES, BAD_CELL, BAD_BODY, BAD_MEDIA, TEMPLATE})
"""Failure kinds of rows that cannot be rendered: retrying them would create an endpoint in vain."""

_BY_STATUS = {
    401: REFUSED,
    402: REFUSED,
    403: REFUSED,
    404: NOT_FOUND,
    408: TIMEOUT,
    410: NOT_FOUND,
    413: TOO_LONG,
    429: RATE_LIMITED,
    503: OVERLOADED,
    504: TIMEOUT,
    524: TIMEOUT,
    529: OVERLOADED,
}
_TEXT = re.compile(
    r"(?P<kind>[a-z_]+): (?:not sent|no answer|HTTP (?P<status>\d+)(?: (?P<code>[^\s:]+))?)"
    r"(?: after (?P<attempts>\d+) attempts?)?: (?P<message>.*)",
    re.DOTALL,
)


class Failure(NamedTuple):
    """Why a row has no response.

    Attributes:
        kind: One of the classes of this module.
        message: The server's message if it sent one, else ours.
        status: HTTP status of the last response, or None if there was none.
        code: The error body's `code`, or "".
        attempts: Requests sent for the row; 0 when it could not be sent.
    """

    kind: str
    message: str
    status: int | None = None
    code: str = ""
    attempts: int = 0

    def __str__(self) -> str:
        """Return what the `error` column holds, such as `too_long: HTTP 413 after 1 attempt: …`."""
        if self.status is not None:
            code = "".join(self.code.replace(":", ".").split())
            what = f"HTTP {self.status}{f' {code}' if code else ''}"
        else:
            what = "no answer" if self.attempts else "not sent"
        plural = "" if self.attempts == 1 else "s"
        after = f" after {self.attempts} attempt{plural}" if self.attempts else ""
        return f"{self.kind}: {what}{after}: {self.message}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse what `str` wrote; any other text becomes the message of class `other`."""
        found = _TEXT.fullmatch(text)
        if found is None:
            return cls(OTHER, text)
        status, attempts = found["status"], found["attempts"]
        return cls(
            found["kind"],
            found["message"],
            int(status) if status else None,
            found["code"] or "",
            int(attempts) if attempts else 0,
        )


def kind_of(status: int, code: str = "", message: str = "") -> str:
    """Return the class of an HTTP response that is not 200.

    Source: Together API, error codes. Context overflow is a 400 with a code of its own, or any
    other 4xx with a message that says so.
    """
    if "context_length" in code or (400 <= status < 500 and status != 429 and too_long(message)):
        return TOO_LONG
    return _BY_STATUS.get(status) or (SERVER_ERROR if status >= 500 else INVALID_REQUEST)


def too_long(message: str) -> bool:
    """Whether a server's message says that a prompt does not fit the model's context.

    Source: the messages of vLLM, SGLang, TGI, TEI, TensorRT-LLM, llama.cpp, OpenAI and Together.
    """
    return _TOO_LONG.search(message) is not None


_TOO_LONG = re.compile(
    r"context[ _](?:length|window|size)"
    r"|(?:maximum|max(?:imum)? allowed|model'?s?) (?:model|sequence|input|total|prompt) length"
    r"|(?:prompt|input|inputs?`?|request|messages?|text|sequence)\b[^.;]{0,60}?"
    r"(?:\btoo (?:long|many tokens)|longer than|exceeds?|must have less than)[^.;]{0,80}?"
    r"(?:tokens?|length|context|max(?:imum)?)"
    r"|(?:prompt|input|request) is too long"
    r"|`?inputs`? (?:tokens )?(?:\+ `?max_new_tokens`? )?must (?:be <=|have less than)"
    r"|tokens? (?:count|number|limit)?[^.;]{0,40}exceed"
    r"|number of (?:input |prompt )?tokens[^.;]{0,40}exceed"
    r"|requested token count exceeds"
    r"|too many (?:input |prompt )?tokens"
    r"|reduce the length of the (?:messages|prompt|input)",
    re.IGNORECASE,
)
