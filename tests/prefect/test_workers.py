"""Runs started by a worker, and the ways in which flow, worker, or both end.

Each is a row of the measurements of Prefect: most ends skip a flow's `finally`, and some leave the
run Running for ever. The endpoint is deleted after each of them.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cloudpickle  # type: ignore[import-untyped]
import orjson
import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest

from mayfly.models.lease import Lease
from mayfly.storage.lease_store import LeaseStore
from tests.prefect.conftest import MODEL, PrefectStage
from tests.support.machine import quick_emulator
from tests.support.prefect_client import PrefectClient
from tests.support.prefect_deployments import PREFECT, ROOT, environment
from tests.support.wait import wait_until
from together_emulator import Emulator, FaultRule

ROWS = 120
CONCURRENCY = 2
SLOW = FaultRule(action="delay", path="^/v1/chat/", delay_s=0.2)
"""The rows take twelve seconds, so that there is a midst of the run."""


@dataclass
class Workplace:
    """A pool with a worker of its own that may be killed, and a deployment of the batch on it.

    Attributes:
        folder: Where the pool's machine keeps its leases, and the outputs are.
    """

    prefect: PrefectClient
    together: Emulator
    env: dict[str, str]
    folder: Path
    pool: str
    deployment: str = ""
    worker: subprocess.Popen[bytes] | None = None
    _outputs: int = 0
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def open(self) -> None:
        """See to it that a worker is there."""
        if self.worker is not None and self.worker.poll() is None:
            return
        command = [PREFECT, "worker", "start", "--pool", self.pool, "--type", "process"]
        self.worker = self.spawn("worker", *command)
        if not self.deployment:
            wait_until(self._pool_is_there, "the worker's pool")
            self.deployment = self.prefect.deploy_again(self.pool, self.pool, one_at_a_time=False)

    def spawn(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a process of this workplace, in a session of its own."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End what was started, and what that has started."""
        for process in self._started:
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
            process.kill()
            process.wait()

    def _pool_is_there(self) -> bool:
        answer = self.prefect.http.get(f"/work_pools/{self.pool}")
        return bool(answer.is_success)

    # Runs.

    def output(self) -> Path:
        """Return a new folder for answers."""
        self._outputs += 1
        return self.folder / f"answers-{self._outputs}"

    def start(self, output: Path, deployment: str = "") -> str:
        """Start a run of the deployment; return its id."""
        parameters = {
            "input": str(self.folder / "input.parquet"),
            "model": MODEL,
            "output": str(output),
            "limits": {"concurrency": CONCURRENCY},
        }
        return self.prefect.start_of(deployment or self.deployment, parameters)

    def midway(self, output: Path, deployment: str = "") -> tuple[str, psutil.Process]:
        """Start a run and let some rows be answered; return its id and the flow's own process."""
        self.together.use_faults(SLOW)
        before = self.answered()
        run = self.start(output, deployment)
        wait_until(lambda: self.answered() >= before + 6, "answered rows")
        (lease,) = self.leases()
        assert lease.run == run
        return run, psutil.Process(lease.owner.pid)

    def answered(self) -> int:
        """Return how many rows the endpoints have answered."""
        chats = (c for c in self.together.calls() if c.path.startswith("/v1/chat/"))
        return sum(call.effect == 200 for call in chats)

    def leases(self) -> tuple[Lease, ...]:
        """Return the open leases."""
        return LeaseStore(Path(self.env["MAYFLY_HOME"])).list().open

    def await_gone(self) -> None:
        """Wait until nothing bills, no endpoint exists and no lease is open."""
        wait_until(lambda: self.together.billing == 0, "end of billing")
        wait_until(lambda: not self.together.has_endpoints, "the end of the endpoint")
        wait_until(lambda: not self.leases(), "the lease's end")

    def lines(self, output: Path) -> list[str]:
        """Return which lines of defence have ended a killed run's endpoints."""
        path = output / "_mayfly" / "teardown.json"
        return [p["line"] for p in orjson.loads(path.read_bytes())] if path.exists() else []


@pytest.fixture(scope="module")
def workplace_of_all(
    stage: PrefectStage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workplace]:
    """One workplace for all tests: a worker takes seconds to start."""
    folder = tmp_path_factory.mktemp("workplace")
    prompts = [f"Question {row}" for row in range(ROWS)]
    pd.DataFrame({"n": range(ROWS), "prompt": prompts}).to_parquet(folder / "input.parquet")
    with quick_emulator() as together:
        env = environment(stage.folder, urlsplit(stage.prefect.api).port or 0) | {
            "MAYFLY_HOME": str(folder / "home"),
            "TOGETHER_API_KEY": together.key,
            "TOGETHER_BASE_URL": together.url,
        }
        workplace = Workplace(stage.prefect, together, env, folder, pool=f"mortal-{os.getpid()}")
        yield workplace
        workplace.close()


@pytest.fixture
def workplace(workplace_of_all: Workplace) -> Workplace:
    """The workplace with a running worker."""
    workplace_of_all.open()
    return workplace_of_all


@pytest.mark.soak
def test_worker_hook_ends_endpoint_of_killed_flow_and_guardian(
    workplace: Workplace,
) -> None:
    output = workplace.output()
    run, flow = workplace.midway(output)

    for guardian in flow.children():
        guardian.kill()
    flow.kill()

    workplace.await_gone()
    assert workplace.lines(output) == ["hook"]
    workplace.prefect.await_state(run, "CRASHED")


@pytest.mark.soak
def test_terminated_flow_tears_down_first(workplace: Workplace) -> None:
    output = workplace.output()
    run, flow = workplace.midway(output)

    flow.terminate()

    workplace.prefect.await_state(run, "CRASHED")
    workplace.await_gone()
    assert own_line(output) == "finally"


def test_cancelled_worker_run_tears_down_first(workplace: Workplace) -> None:
    output = workplace.output()
    run, _ = workplace.midway(output)

    workplace.prefect.request(
        "POST", f"/flow_runs/{run}/set_state", state={"type": "CANCELLING"}, force=True
    )

    workplace.prefect.await_state(run, "CANCELLED")
    workplace.await_gone()
    assert own_line(output) == "finally"


@pytest.mark.soak
def test_stopped_worker_leaves_teardown_to_guardian_and_run_resumes(
    workplace: Workplace,
) -> None:
    output = workplace.output()
    before = workplace.answered()
    _, flow = workplace.midway(output)
    worker = workplace.worker
    assert worker is not None

    worker.terminate()

    worker.wait(60)
    workplace.await_gone()
    assert not flow.is_running()
    assert workplace.lines(output) == ["guardian"]
    workplace.together.use_faults()
    workplace.open()
    again = workplace.start(output)
    workplace.prefect.await_state(again, "COMPLETED")
    server_answers = pq.read_table(output)
    assert server_answers["n"].to_pylist() == list(range(ROWS))
    assert server_answers["response"].null_count == 0
    # Requests in flight at the death, or answered and not yet journalled, are sent again.
    assert workplace.answered() - before <= ROWS + 2 * CONCURRENCY
    workplace.await_gone()


@pytest.mark.soak
def test_killed_worker_and_flow_leave_teardown_to_guardian(
    workplace: Workplace,
) -> None:
    output = workplace.output()
    _, flow = workplace.midway(output)
    worker = workplace.worker
    assert worker is not None

    worker.kill()
    flow.kill()

    worker.wait()
    workplace.await_gone()
    assert workplace.lines(output) == ["guardian"]


@pytest.mark.soak
def test_flow_of_killed_worker_ends_its_endpoint(workplace: Workplace) -> None:
    output = workplace.output()
    _, flow = workplace.midway(output)
    worker = workplace.worker
    assert worker is not None

    worker.kill()

    worker.wait()
    workplace.together.use_faults()
    # It continues as long as it can, and may end when it writes to a closed pipe.
    flow.wait(120)
    workplace.await_gone()


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_serving_flow_leaves_nothing(
    workplace: Workplace, number: signal.Signals
) -> None:
    name = f"served-{os.getpid()}-{number.name}"
    served = workplace.spawn(
        name,
        sys.executable,
        "-c",
        "from mayfly.flows.batch_inference import batch_inference as batch; "
        f"batch.serve({name!r}, pause_on_shutdown=False)",
    )
    deployment = wait_until(lambda: found(workplace.prefect, name), "the served deployment")
    workplace.midway(workplace.output(), deployment)

    os.killpg(served.pid, number)

    served.wait(60)
    workplace.await_gone()


def own_line(output: Path) -> str:
    """Return which line tore down the endpoint of a run that wrote its own report."""
    report: dict[str, Any] = orjson.loads((output / "_mayfly" / "report.json").read_bytes())
    return str(report["endpoints"][0]["teardown"]["line"])


def found(prefect: PrefectClient, name: str) -> str | None:
    """Return a deployment's id, if it is there."""
    answer = prefect.http.get(f"/deployments/name/batch-inference/{name}")
    return str(answer.json()["id"]) if answer.is_success else None


def test_flow_can_be_pickled_to_the_process_of_serve() -> None:
    from mayfly.flows.batch_inference import batch_inference  # noqa: PLC0415 - Prefect takes seconds

    assert cloudpickle.loads(cloudpickle.dumps(batch_inference)).name == "batch-inference"
