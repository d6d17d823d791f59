"""Why a Prefect server could not be used, in one line."""

import httpx
import pytest

from mayfly.orchestration.deployments import failure_of


def not_found(url: str) -> httpx.HTTPStatusError:
    """Return the error of a server that does not know a path."""
    request = httpx.Request("POST", f"{url}/block_types/")
    response = httpx.Response(404, json={"detail": "Not Found"}, request=request)
    return httpx.HTTPStatusError("404", request=request, response=response)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:4200", "check PREFECT_API_URL, which ends in /api"),
        ("http://127.0.0.1:4200/api", "rejected the request: HTTP 404"),
        ("https://api.prefect.cloud/api/accounts/A/workspaces/W", "rejected the request"),
    ],
)
def test_not_found_names_the_end_of_the_url_only_where_it_is_missing(url: str, says: str) -> None:
    line = failure_of(not_found(url), url)

    assert url in line
    assert says in line
