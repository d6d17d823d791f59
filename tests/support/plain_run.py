"""Real runs against the emulator on compressed time, without Prefect."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mayfly.models.errors import EndpointLost, HardwareUnavailable, RunStopped
from mayfly.models.job import Job
from mayfly.models.timeouts import Timeouts
from mayfly.planning.plan import Plan, make_plan
from mayfly.reporting.progress import Progress
from mayfly.runs.environment import Environment
from mayfly.runs.handle import RunHandle
from mayfly.runs.inference import MOST_SHARDS
from mayfly.runs.run import Run, begin
from mayfly.together.connection import Connection
from together_emulator import Emulator

MODEL = "Qwen/Qwen2.5-7B-Instruct"
H100, H200, B200 = "1xnvidia-h100-80gb", "1xnvidia-h200-141gb", "1xnvidia-b200-180gb"


class FastClock:
    """A clock that runs as fast as the emulator's, but for Unix time."""

    def __init__(self, speed: float) -> None:
        self._speed, self._start = speed, time.monotonic()

    def monotonic(self) -> float:
        """Return emulated seconds."""
        return (time.monotonic() - self._start) * self._speed

    def time(self) -> float:
        """Return Unix time as it is."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait in real seconds: polls are real requests."""
        time.sleep(seconds)


class Surroundings(NamedTuple):
    """An emulator, and what a run needs to reach it."""

    emulator: Emulator
    environment: Environment


@contextmanager
def emulated(home: Path, *, speed: float, **settings: Any) -> Iterator[Surroundings]:
    """Start an emulator; yield it with surroundings that have its address and its time."""
    with Emulator(speed=speed, **settings) as emulator:
        environment = Environment(
            connection=Connection.from_env(
                {"TOGETHER_BASE_URL": emulator.url, "TOGETHER_API_KEY": emulator.key}
            ),
            folders={"MAYFLY_HOME": str(home)},
            # What a busy machine may take in real seconds, in emulated ones.
            timeouts=Timeouts(
                teardown_s=60 * speed,
                settle_s=60 * speed,
                grace_s=0.5,
                write_hang_s=60 * speed,
                idle_s=60 * speed,
            ),
            clock=FastClock(speed),
        )
        yield Surroundings(emulator, environment)


def job_of(folder: Path, *, rows: int, **groups: Any) -> Job:
    """Return a job over so many short prompts."""
    source = folder / "in.parquet"
    if not source.exists():
        prompts = [f"What is {row} times {row + 1}?" for row in range(rows)]
        pq.write_table(pa.table({"prompt": prompts}), source)
    # Emulated seconds pass fast, and a busy machine is slow.
    groups["rental"] = {"ready_timeout_s": 86_400, **groups.get("rental", {})}
    output = str(folder / "out")
    return Job.model_validate({"input": str(source), "model": MODEL, "output": output} | groups)


def plan_of(run: Run) -> Plan:
    """Plan a run, and let it go by that."""
    run.use_plan(plan := make_plan(run.preview, run.plane, run.environment.folders))
    return plan


def carry_out(
    job: Job,
    environment: Environment,
    *,
    handle: RunHandle | None = None,
    before_each: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Any], RunStopped | None]:
    """Do what the flow does; return the report and what stopped the run."""
    handle = handle or RunHandle(environment=environment, progress=Progress(environment.clock))
    stopped: RunStopped | None = None
    with begin(job, handle) as run, ThreadPoolExecutor(MOST_SHARDS) as pool:
        for offer in run.in_turn((run.plan or plan_of(run)).placement):
            before_each()
            try:
                run.monitor.check_may_provision()
                run.provisioner.provision(offer)
                run.provisioner.session.await_ready(run.monitor.check_while_waiting)
                run.inference.answer_all(lambda shard: pool.submit(run.inference.answer, shard))
            except (HardwareUnavailable, EndpointLost) as error:
                run.move_on(error)
            except RunStopped as error:
                stopped = error
            finally:
                tear_down(run)
            run.inference.settle()
            if stopped is not None:
                break
        return run.write_report("complete" if stopped is None else "stopped"), stopped


def tear_down(run: Run) -> None:
    """Stop and delete the endpoint in use, if there is one."""
    run.stop()
    if run.provisioner.exists:
        run.provisioner.session.stop()
        run.provisioner.session.finish()
