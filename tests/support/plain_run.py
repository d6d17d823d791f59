"""Real runs against the emulator on compressed time, without Prefect: the steps, called plainly."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mayfly.models.errors import EndpointLost, HardwareUnavailable, RunStopped
from mayfly.models.job import Job
from mayfly.planning.plan import make_plan
from mayfly.runs.run import Run, begin
from together_emulator import Emulator

MODEL = "Qwen/Qwen2.5-7B-Instruct"
H100, H200, B200 = "1xnvidia-h100-80gb", "1xnvidia-h200-141gb", "1xnvidia-b200-180gb"


class Fast:
    """The standard module `time` on a clock that runs as fast as the emulator's."""

    def __init__(self, speed: float) -> None:
        self._speed, self._start = speed, time.monotonic()

    def monotonic(self) -> float:
        """Return emulated seconds."""
        return (time.monotonic() - self._start) * self._speed

    def time(self) -> float:
        """Return Unix time as it is."""
        return time.time()


@contextmanager
def emulated(
    monkeypatch: pytest.MonkeyPatch, home: Path, *, speed: float, **settings: Any
) -> Iterator[Emulator]:
    """Start an emulator, and let runs see its address and its time."""
    with Emulator(speed=speed, **settings) as emulator:
        monkeypatch.setenv("TOGETHER_BASE_URL", emulator.url)
        monkeypatch.setenv("TOGETHER_API_KEY", emulator.key)
        monkeypatch.delenv("TOGETHER_PROJECT_ID", raising=False)
        monkeypatch.delenv("MAYFLY_HISTORY", raising=False)
        monkeypatch.setenv("MAYFLY_HOME", str(home))
        fast = Fast(speed)
        for module in ("endpoints.session", "runs.monitor", "endpoints.provisioner"):
            monkeypatch.setattr(f"mayfly.{module}.time", fast)
        yield emulator


def job_of(folder: Path, *, rows: int, **groups: Any) -> Job:
    """Return a job over so many short prompts."""
    source = folder / "in.parquet"
    if not source.exists():
        prompts = [f"What is {row} times {row + 1}?" for row in range(rows)]
        pq.write_table(pa.table({"prompt": prompts}), source)
    output = str(folder / "out")
    return Job.model_validate({"input": str(source), "model": MODEL, "output": output} | groups)


def carry_out(
    job: Job, *, before_each: Callable[[], None] = lambda: None
) -> tuple[dict[str, Any], RunStopped | None]:
    """Do what the flow does; return the report and what stopped the run."""
    with begin(job) as run:
        plan = make_plan(run.look, run.plane)
        run.planned(plan)
        for offer in run.in_turn(plan.placement):
            before_each()
            try:
                run.may_rent()
                run.rent(offer)
                run.session.await_ready(run.look_while_waiting)
                _answer_all(run)
            except (HardwareUnavailable, EndpointLost) as error:
                run.move_on(error)
            except RunStopped as stopped:
                run.stop_sending()
                run.session.stop()
                run.session.finish()
                return run.close_the_books("stopped"), stopped
            finally:
                if run.standing:
                    run.stop_sending()
                    run.session.stop()
                    run.session.finish()
        return run.close_the_books("complete"), None


def _answer_all(run: Run) -> None:
    with run.sending(), ThreadPoolExecutor(1) as pool:
        try:
            for shard in run.shards_left():
                future = pool.submit(run.answer, shard)
                while not wait([future], timeout=0.05).done:
                    run.look_after()
                run.shard_done(shard, future.result())
            run.look_after()
        except RunStopped as stopped:
            run.engine.stop(stopped, grace_s=0.5)
            raise
        finally:
            run.stop_sending()
