"""A management request as handlers receive it, and the format of their results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.responses import Response

from together_emulator.http.errors import bad_request
from together_emulator.http.fields import only
from together_emulator.state.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A parsed request.

    Attributes:
        path: The parameters of the route.
        query: The query's parameters; a repeated one is rejected.
        body: The JSON object of the body; empty if there was none.
    """

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any] = field(default_factory=dict)

    def expect(self, *, query: tuple[str, ...] = (), body: tuple[str, ...] = ()) -> None:
        """Reject (400) unknown query parameters and body fields."""
        only(self.query, query, "query parameter")
        only(self.body, body, "field")


Handler = Callable[[Store, Call], Any]
"""Returns the JSON of a 200 response; None is sent as 204 without a body."""


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a JSON response."""
    return Response(orjson.dumps(value), status, headers, media_type="application/json")


def read_body(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a request body (400 if invalid); {} for an empty body."""
    if not raw:
        return {}
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"request body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(body, dict):
        raise bad_request("request body is not a JSON object", code="invalid_json")
    return body


def read_query(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return a query's parameters (400 if one is repeated)."""
    query = dict(pairs)
    if len(query) != len(pairs):
        raise bad_request("a query parameter is given twice")
    return query


def listing(data: list[Any], next_cursor: str | None = None) -> dict[str, Any]:
    """Return the wrapper of every list.

    Source: Together API, list calls.
    """
    return {"object": "list", "data": data, "next_cursor": next_cursor}
