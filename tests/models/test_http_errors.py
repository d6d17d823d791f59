"""HTTP errors are parsed by one module for inference and the control plane."""

import math

import httpx
import pytest
from together import RateLimitError

from mayfly.inference.status_codes import Action, judge
from mayfly.models.errors import RetryableError
from mayfly.models.http_errors import bounded_retry_after, error_message, retry_after
from mayfly.together.errors import translated

DATE = "Thu, 26 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after": "Thu, 26 Nov 2026 10:00:30 GMT", "date": DATE}, 30.0),
        ({"retry-after": "Thu, 26 Nov 2026 09:00:00 GMT", "date": DATE}, 0.0),
        ({"x-ratelimit-reset": "0.25"}, 0.25),
        ({"retry-after": "soon", "x-ratelimit-reset": "2"}, 2.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Thu, 26 Nov 2026 10:00:30 GMT"}, None),
        ({"retry-after": "Thu Nov 26 10:00:30 2026", "date": DATE}, 30.0),
        ({"retry-after": "Thursday, 26-Nov-26 10:00:30 GMT", "date": DATE}, 30.0),
        ({"retry-after": "Thu, 26 Nov 2026 10:00:30 -0000", "date": DATE}, 30.0),
        ({"retry-after": "2026-11-26T10:00:30Z", "date": DATE}, 30.0),
        ({"retry-after": "30s"}, 30.0),
        ({"retry-after": "1500ms"}, 1.5),
        ({"x-ratelimit-reset": "6m0s"}, 360.0),
        ({"x-ratelimit-reset": "1795687230", "date": DATE}, 30.0),
        ({"x-ratelimit-reset": "1795687230"}, None),
        ({"retry-after": " "}, None),
        ({}, None),
    ],
)
def test_retry_after_reads_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers.get) == seconds


@pytest.mark.parametrize("header", ["3600", "inf", "1e308"])
def test_retry_after_is_capped_at_a_minute(header: str) -> None:
    assert bounded_retry_after({"retry-after": header}.get) == 60.0
    assert (retry_after({"retry-after": header}.get) or math.inf) > 60.0


def test_control_plane_and_inference_read_the_same_headers() -> None:
    headers = {"retry-after-ms": "1500"}
    request = httpx.Request("GET", "http://127.0.0.1/")
    response = httpx.Response(429, headers=headers, request=request)

    with pytest.raises(RetryableError) as caught, translated("list"):
        raise RateLimitError("slow down", response=response, body=None)

    assert caught.value.retry_after_s == judge(429, "", headers.get).retry_after_s == 1.5


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"error": {"message": "no", "code": "c"}}, ("c", "no")),
        ({"code": 7, "message": "no"}, ("7", "no")),
        ({"error": "no", "error_type": "validation"}, ("validation", "no")),
        ({"detail": [{"loc": ["body", "n"], "msg": "too big"}]}, ("", "body.n: too big")),
        ({"code": 3, "message": "no", "details": [{"detail": "because"}]}, ("3", "no; because")),
        (["no"], ("", "no")),
        (None, ("", "")),
    ],
)
def test_error_message_reads_both_shapes(body: object, found: tuple[str, str]) -> None:
    assert error_message(body) == found


@pytest.mark.parametrize("status", [425, 429, 503, 529])
def test_overload_is_distinguished_from_other_failures(status: int) -> None:
    assert judge(status).refused_load
    assert judge(status).action is Action.RETRY
    assert not judge(500).refused_load
    assert judge(500, "overloaded_error").refused_load
    assert not judge(503, "routing_error").refused_load
