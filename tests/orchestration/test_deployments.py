"""Why a Prefect server could not be used, in one line; deploying twice at once."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from mayfly.orchestration.deployments import failure_of, past_conflicts


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


class Registration:
    """A call that finds or creates, which others have made impossible for the first times."""

    def __init__(self, status: int, *, refusals: int) -> None:
        self.status, self.refusals = status, refusals
        self.calls = 0

    def __call__(self) -> None:
        """Register."""
        self.calls += 1
        if self.calls <= self.refusals:
            request = httpx.Request("POST", "http://127.0.0.1:4200/api/block_types/")
            response = httpx.Response(self.status, request=request)
            raise httpx.HTTPStatusError("no", request=request, response=response)


def test_registration_that_another_deploy_overtakes_is_repeated() -> None:
    overtaken = Registration(409, refusals=2)

    past_conflicts(overtaken, sleep=lambda _seconds: None)

    assert overtaken.calls == 3


@pytest.mark.parametrize(("status", "calls"), [(409, 4), (404, 1)])
def test_registration_that_stays_rejected_is_an_error(status: int, calls: int) -> None:
    rejected = Registration(status, refusals=9)

    with pytest.raises(httpx.HTTPStatusError):
        past_conflicts(rejected, sleep=lambda _seconds: None)

    assert rejected.calls == calls


def test_pool_name_that_prefect_does_not_accept_is_a_wrong_request(
    prefect_api_url: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mayfly.cli.main", "deploy", "--pool", "a/b"],
        env={**os.environ, "PREFECT_API_URL": prefect_api_url, "PREFECT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 2, done.stderr
    assert "--pool a/b: Prefect accepts no such name" in done.stderr
    assert "PREFECT_API_URL" not in done.stderr
