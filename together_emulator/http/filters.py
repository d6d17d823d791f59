"""`filter`, `orderBy` and pagination of the list calls.

Source: Together API, list endpoints and deployments: `= != < <= > >=`, AND OR NOT, quoted strings,
`name:"sub"`, `*` at the ends of a name. AND binds more tightly than OR.
"""

import base64
import binascii
import bisect
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from together_emulator.http.errors import ApiError, bad_request

T = TypeVar("T")
Row = Mapping[str, tuple[str, ...]]
"""An item's values of a field: a name has two (bare and qualified), all other fields one."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<op><=|>=|!=|=|<|>|:)|(?P<paren>[()])|"(?P<quoted>(?:[^"\\]|\\.)*)"|"""
    r"""(?P<word>[^\s()"=!<>:]+))"""
)
_TIMES = ("created_at", "updated_at")
_DEFAULT_LIMIT = 50


def _invalid(why: str) -> ApiError:
    return bad_request(f"invalid filter expression: {why}", param="filter", code="invalid_filter")


class Filter:
    """A parsed filter, which is called with an item's fields (400 if it cannot be parsed)."""

    def __init__(
        self, text: str, fields: Sequence[str], *, enums: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._fields = fields
        self._enums = enums or {}
        self._tokens = list(_tokens(text))
        self._at = 0
        self._test = self._either()
        if self._at < len(self._tokens):
            raise _invalid(f"unexpected {self._tokens[self._at][1]!r}")

    def __call__(self, row: Row) -> bool:
        return self._test(row)

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "end of text")

    def _next(self) -> tuple[str, str]:
        token = self._peek()
        self._at += 1
        return token

    def _either(self) -> Callable[[Row], bool]:
        tests = [self._both()]
        while self._peek() == ("word", "OR"):
            self._next()
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda row: any(test(row) for test in tests)

    def _both(self) -> Callable[[Row], bool]:
        tests = [self._one()]
        while self._peek() == ("word", "AND"):
            self._next()
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda row: all(test(row) for test in tests)

    def _one(self) -> Callable[[Row], bool]:
        kind, text = self._next()
        if (kind, text) == ("word", "NOT"):
            inner = self._one()
            return lambda row: not inner(row)
        if (kind, text) == ("paren", "("):
            inner = self._either()
            if self._next() != ("paren", ")"):
                raise _invalid("missing ')'")
            return inner
        if kind != "word" or text not in self._fields:
            raise _invalid(f"unknown field {text!r}; known are {', '.join(self._fields)}")
        op_kind, op = self._next()
        if op_kind != "op":
            raise _invalid(f"expected an operator after {text!r}")
        value_kind, value = self._next()
        if value_kind not in ("quoted", "word"):
            raise _invalid(f"expected a value after {text!r} {op}")
        return self._comparison(text, op, value, quoted=value_kind == "quoted")

    def _comparison(
        self, field: str, op: str, value: str, *, quoted: bool
    ) -> Callable[[Row], bool]:
        if field in _TIMES:
            if not quoted or op == ":":
                raise _invalid(f"{field} takes a quoted RFC 3339 string")
            time = _time(value)
            return lambda row: any(_compare(_time(v), op, time) for v in row[field])
        allowed = self._enums.get(field)
        if allowed is not None and value not in allowed:
            raise _invalid(f"{field} takes one of {', '.join(allowed)}, not {value!r}")
        if op == ":":
            if field != "name":
                raise _invalid(f"':' works on name only, not on {field}")
            return lambda row: any(value in v for v in row[field])
        if field == "name" and "*" in value and op in ("=", "!="):
            pattern = _wildcard(value)
            return lambda row: (op == "=") == any(pattern(v) for v in row[field])
        if op == "!=":
            return lambda row: all(v != value for v in row[field])
        return lambda row: any(_compare(v, op, value) for v in row[field])


def _tokens(text: str) -> Any:
    at = 0
    stripped = text.rstrip()
    if not stripped:
        raise _invalid("it is empty")
    while at < len(stripped):
        match = _TOKEN.match(stripped, at)
        if match is None:
            raise _invalid(f"cannot read {stripped[at : at + 20]!r}")
        kind = str(match.lastgroup)
        value = match[kind]
        yield kind, re.sub(r"\\(.)", r"\1", value) if kind == "quoted" else value
        at = match.end()


def _wildcard(value: str) -> Callable[[str], bool]:
    inner = value.strip("*")
    if "*" in inner:
        raise _invalid("'*' may only begin or end a name")
    if value.startswith("*") and value.endswith("*"):
        return lambda text: inner in text
    if value.startswith("*"):
        return lambda text: text.endswith(inner)
    return lambda text: text.startswith(inner)


def _time(value: str) -> datetime:
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise _invalid(f"{value!r} is not an RFC 3339 time") from None
    if time.tzinfo is None:
        raise _invalid(f"{value!r} has no time zone")
    return time


def _compare(left: Any, op: str, right: Any) -> bool:
    match op:
        case "=":
            return bool(left == right)
        case "!=":
            return bool(left != right)
        case "<":
            return bool(left < right)
        case "<=":
            return bool(left <= right)
        case ">":
            return bool(left > right)
        case _:
            return bool(left >= right)


def ordered(
    items: Sequence[T],
    order_by: str | None,
    times: Callable[[T, str], float],
    key: Callable[[T], str],
) -> list[tuple[tuple[float, str], T]]:
    """Sort by `created_at` or `updated_at`, newest first unless `asc` is given; ties by id.

    Returns:
        Items with the sort key for a page's cursor.
    """
    field, descending = "created_at", True
    if order_by is not None:
        words = order_by.split()
        if not words or len(words) > 2 or words[0] not in _TIMES:
            raise bad_request(f"invalid orderBy {order_by!r}", param="orderBy")
        if len(words) == 2 and words[1] not in ("asc", "desc"):
            raise bad_request(f"invalid orderBy {order_by!r}", param="orderBy")
        field, descending = words[0], words[1:] == ["desc"]
    sign = -1.0 if descending else 1.0
    keyed = [((sign * times(item, field), key(item)), item) for item in items]
    keyed.sort(key=lambda pair: pair[0])
    return keyed


def read_limit(text: str | None, *, default: int = _DEFAULT_LIMIT, most: int = 500) -> int:
    """Read `limit`: 1 to `most` (400)."""
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise bad_request(f"limit must be between 1 and {most}, got {text!r}", param="limit")
    return int(text)


def page(
    keyed: Sequence[tuple[tuple[float, str], T]], *, limit: int, after: str | None
) -> tuple[list[T], str | None]:
    """Return one page of sorted items, and the cursor of the next page if there is one."""
    start = 0
    if after is not None:
        cursor = _read_cursor(after)
        # The cursor's item may have been deleted: continue after its position.
        start = bisect.bisect_right(keyed, cursor, key=lambda pair: pair[0])
    cut = keyed[start : start + limit]
    more = start + limit < len(keyed)
    next_cursor = _cursor(cut[-1][0]) if more else None
    return [item for _, item in cut], next_cursor


def _cursor(key: tuple[float, str]) -> str:
    return base64.urlsafe_b64encode(f"{key[0]!r}|{key[1]}".encode()).decode()


def _read_cursor(text: str) -> tuple[float, str]:
    try:
        number, _, name = base64.urlsafe_b64decode(text.encode()).decode().partition("|")
        return float(number), name
    except (ValueError, binascii.Error):
        raise bad_request("invalid cursor", param="after") from None


def paged(query: Mapping[str, str], items: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the page of a list, in the given order, that `limit` and `after` request.

    Args:
        items: Each with its id.
    """
    keyed = [((float(index), key), wire) for index, (key, wire) in enumerate(items)]
    data, cursor = page(keyed, limit=read_limit(query.get("limit")), after=query.get("after"))
    return {"object": "list", "data": data, "next_cursor": cursor}
