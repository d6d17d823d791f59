"""The emulator of a `--local` command, at its end."""

import os
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from mayfly.cli.local_emulator import embedded_endpoint
from mayfly.runs.environment import Environment
from tests.support.wait import wait_until

KEY = {"authorization": "Bearer local"}


@pytest.fixture
def environ(tmp_path: Path) -> Mapping[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}


def home_of(environment: Environment) -> Path:
    return Path(environment.folders["MAYFLY_HOME"])


def project_at(url: str) -> str:
    """Return the project of the emulator, or "" if it does not answer."""
    try:
        answer = httpx.get(f"{url}/v3/whoami", headers=KEY)
    except httpx.TransportError:
        return ""
    return str(answer.json()["project"]["id"])


@pytest.mark.filterwarnings("ignore:subprocess .* is still running")
def test_emulator_with_an_open_lease_lives_until_its_endpoint_is_deleted(
    environ: Mapping[str, str],
) -> None:
    with embedded_endpoint(environ) as environment:
        url, home = environment.connection.base_url, home_of(environment)
        endpoints = f"{url}/v2/projects/{project_at(url)}/endpoints"
        made = httpx.post(endpoints, json={"name": "batch"}, headers=KEY).json()
        (home / "leases").mkdir(parents=True)
        (home / "leases" / "batch.json").write_text("{}")

    assert httpx.delete(f"{endpoints}/{made['id']}", headers=KEY).is_success
    wait_until(lambda: not project_at(url), "end of the emulator")


def test_emulator_without_a_lease_ends_with_the_command(environ: Mapping[str, str]) -> None:
    with embedded_endpoint(environ) as environment:
        url, home = environment.connection.base_url, home_of(environment)
        assert project_at(url)

    assert not home.exists()
    assert not project_at(url)
