"""Fixtures: one Prefect server and worker for the session, and an emulator that the flows use."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.prefect_client import PrefectClient
from tests.support.prefect_deployments import ROOT, shared_deployments
from tests.support.webhook import hook_listener
from together_emulator import Emulator

KEY = "tgp_v1_test_4f9b0c7d1e6a8325"
"""The key of the emulated account: tests search for it where it must not be."""
MODEL = "Qwen/Qwen2.5-7B-Instruct"
SAMPLE = Path(__file__).parents[2] / "data" / "sample.parquet"


@dataclass(frozen=True, slots=True)
class PrefectStage:
    """Prefect server and worker, an emulator, and the credentials block that connects them.

    Attributes:
        house: The folder with the server's home, logs and leases.
        credentials: Name of the block with the emulator's key and address.
        block: The block document's id.
        deployment: Id of a deployment for this process: runs of others' would take its place.
    """

    folder: Path
    prefect: PrefectClient
    together: Emulator
    credentials: str
    block: str
    deployment: str

    def job(self, output: Path, **changes: Any) -> dict[str, Any]:
        """Return parameters of a small job that fits the sample."""
        return {
            "input": str(SAMPLE),
            "model": MODEL,
            "output": str(output),
            "credentials": {"$ref": {"block_document_id": self.block}},
            "prompt": {"template": "Summarise: {{ message }}"},
        } | changes

    def start(self, parameters: dict[str, Any]) -> str:
        """Start a run of this process's deployment; return the run's id."""
        return self.prefect.start_of(self.deployment, parameters)

    def endpoint_count(self) -> int:
        """Endpoints that exist at the provider."""
        with httpx.Client(headers={"authorization": f"Bearer {KEY}"}) as http:
            project = http.get(f"{self.together.url}/v3/whoami").json()["project"]["id"]
            found = http.get(f"{self.together.url}/v2/projects/{project}/endpoints").json()
        return len(found["data"])

    def created(self) -> int:
        """How many endpoints were ever created."""
        return sum(
            entry.method == "POST" and entry.path.endswith("/endpoints")
            for entry in self.together.calls()
        )


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectStage]:
    """Prefect, shared by all processes of the session, and an emulator of this process."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "prefect-house"
    # Two packages of tests have this fixture, and may meet in one process.
    name = f"emulated-{os.getpid()}-{uuid4().hex[:6]}"
    with (
        shared_deployments(folder) as api_url,
        httpx.Client(base_url=api_url, timeout=60) as http,
        Emulator(speed=120.0, key=KEY) as together,
    ):
        prefect = PrefectClient(http)
        block = prefect.save_block("together-credentials", name, api_key=KEY, base_url=together.url)
        deployment = prefect.deploy_again(name, "mayfly", history=folder / name)
        yield PrefectStage(folder, prefect, together, name, str(block["id"]), deployment)


@pytest.fixture
def webhook(stage: PrefectStage) -> Iterator[tuple[str, str, list[str]]]:
    """A notification block: its name, its id, and the messages sent through it."""
    with hook_listener() as (url, messages):
        name = f"people-{uuid4().hex}"
        block = stage.prefect.save_block(
            "custom-webhook",
            name,
            name=name,
            url=url,
            method="POST",
            json_data={"text": "{{subject}}: {{body}}"},
        )
        yield name, str(block["id"]), messages


@pytest.fixture
def messages(stage: PrefectStage, webhook: tuple[str, str, list[str]]) -> Iterator[list[str]]:
    """Notifications after the README's command has set a webhook."""
    name, _, messages = webhook
    with (stage.folder / "notify.lock").open("w") as lock:
        # The command changes automations that are there already: one webhook at a time.
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(
            [sys.executable, "-m", "mayfly.orchestration.notifications", f"custom-webhook/{name}"],
            cwd=ROOT,
            env={**os.environ, "PREFECT_API_URL": stage.prefect.api, "DO_NOT_TRACK": "1"},
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=120,
        )
        yield messages
