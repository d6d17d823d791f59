"""Runs of one process are independent, and a confirmed plan is not computed again.

Real runs against the emulator, without Prefect.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from mayfly.models.errors import MayflyError, TerminalError
from mayfly.planning.plan import Plan, make_plan
from mayfly.planning.preview import preview_job
from mayfly.runs.handle import RunHandle
from mayfly.runs.run import begin
from mayfly.together.factory import connect
from tests.support.machine import MODEL, Machine, quick_emulator
from tests.support.plain_run import Surroundings, carry_out, emulated, job_of
from together_emulator import FaultRule

QUICK = {"speed": 60.0, "start_factor": 0.02, "drain_s": 1.0}
INFERENCE = "/v1/chat/completions"


def plan_for(folder: Path, here: Surroundings, *, rows: int = 20) -> Plan:
    job = job_of(folder, rows=rows)
    environment = here.environment
    with connect(job.rental.api, environment.connection) as plane:
        preview = preview_job(job, environment.connection.provider)
        return make_plan(preview, plane, environment.folders)


@contextmanager
def opened(path: Path) -> Iterator[list[str]]:
    """Collect how often a file is opened while the block lasts."""
    seen: list[str] = []
    on = True

    def hook(event: str, args: tuple[object, ...]) -> None:
        if on and event == "open" and str(args[0]) == str(path):
            seen.append(str(path))

    # A hook cannot be taken away again; it is switched off.
    sys.addaudithook(hook)
    try:
        yield seen
    finally:
        on = False


def catalogue_calls(here: Surroundings) -> Counter[str]:
    return Counter(
        call.path
        for call in here.emulator.calls()
        if call.method == "GET" and any(w in call.path for w in ("/configs", "/models", "hardware"))
    )


def test_concurrent_runs_use_their_own_keys(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    slow = FaultRule(action="delay", path=INFERENCE, delay_s=0.05)
    with (
        emulated(tmp_path / "a" / "home", key="key-of-a", faults=[slow], **QUICK) as a,
        emulated(tmp_path / "b" / "home", key="key-of-b", faults=[slow], **QUICK) as b,
        ThreadPoolExecutor(2) as threads,
    ):
        keys: set[str] = set()

        def collect_guardian_keys() -> None:
            for child in psutil.Process().children():
                with suppress(psutil.Error):
                    if "mayfly.endpoints.guardian" in child.cmdline():
                        keys.add(child.environ().get("TOGETHER_API_KEY", ""))

        runs = [
            threads.submit(
                carry_out,
                job_of(folder, rows=60, limits={"concurrency": 2}),
                here.environment,
            )
            for folder, here in ((tmp_path / "a", a), (tmp_path / "b", b))
        ]
        while wait(runs, timeout=0.02).not_done:
            collect_guardian_keys()
        reports = [run.result()[0] for run in runs]

        assert [report["outcome"] for report in reports] == ["complete", "complete"]
        for here in (a, b):
            calls = here.emulator.calls()
            assert sum(call.path == INFERENCE for call in calls) == 60
            assert not [call for call in calls if call.status in (401, 403)]
            assert not here.emulator.has_endpoints
        assert keys == {"key-of-a", "key-of-b"}


def test_run_after_a_failed_run_reports_its_own_outcome_only(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    refused = FaultRule(action="status", path=INFERENCE, status=402, message="no credit")
    with emulated(tmp_path / "home", **QUICK) as here:
        here.emulator.use_faults(refused)
        first = RunHandle(environment=here.environment)
        first.note_teardown_aborted("endpoint x may still bill")
        with pytest.raises(MayflyError, match="no credit"):
            carry_out(job_of(tmp_path / "first", rows=5), here.environment, handle=first)
        here.emulator.use_faults()

        report, _ = carry_out(job_of(tmp_path / "second", rows=5), here.environment)

    assert first.progress.report is not None
    assert "may still bill" in first.progress.report["outcome"]
    assert report["outcome"] == "complete"
    assert report["rows"]["done"] == 5


def test_run_with_confirmed_plan_repeats_no_preview(tmp_path: Path) -> None:
    with emulated(tmp_path / "home", **QUICK) as here:
        plan = plan_for(tmp_path, here)
        asked = catalogue_calls(here)
        handle = RunHandle(environment=here.environment, plan=plan)

        with (
            opened(tmp_path / "in.parquet") as reads,
            begin(plan.preview.job, handle) as run,
        ):
            assert run.plan is plan
            assert run.preview is plan.preview
            before_a_row = list(reads)

        assert before_a_row == []
        assert catalogue_calls(here) == asked


def test_run_without_plan_previews_the_input(tmp_path: Path) -> None:
    with emulated(tmp_path / "home", **QUICK) as here:
        job = job_of(tmp_path, rows=5)

        with (
            opened(tmp_path / "in.parquet") as reads,
            begin(job, RunHandle(environment=here.environment)) as run,
        ):
            assert run.plan is None

    assert reads


def test_confirmed_plan_is_the_plan_that_runs(tmp_path: Path) -> None:
    with emulated(tmp_path / "home", **QUICK) as here:
        plan = plan_for(tmp_path, here)
        assert plan.placement is not None
        chosen = plan.placement.chosen.hardware
        # Meanwhile the catalogue has nothing of that kind left for others to plan with.
        here.emulator.use_faults(
            FaultRule(action="status", method="GET", path="/configs", status=500)
        )
        handle = RunHandle(environment=here.environment, plan=plan)

        report, _ = carry_out(plan.preview.job, here.environment, handle=handle)

    assert [endpoint["hardware"] for endpoint in report["endpoints"]] == [chosen]
    assert report["rows"]["remaining"] == 0


def test_plan_of_another_job_is_refused(tmp_path: Path) -> None:
    with emulated(tmp_path / "home", **QUICK) as here:
        plan = plan_for(tmp_path, here)
        other = job_of(tmp_path, rows=20, sampling={"max_tokens": 7})
        handle = RunHandle(environment=here.environment, plan=plan)

        with pytest.raises(TerminalError, match="another job"), begin(other, handle):
            pytest.fail("it began")


def test_command_line_requests_the_catalogue_once(machine: Machine) -> None:
    plan = machine.command("plan", str(machine.input), "--model", MODEL, "--api", "v2")
    assert plan.wait() == 0, plan.text
    once = catalogue_paths(machine)
    assert once

    run = machine.run()

    assert run.wait() == 0, run.text
    assert catalogue_paths(machine) - once == once


def test_concurrent_flow_runs_use_their_own_credentials_blocks(
    machine: Machine,
) -> None:
    slow = FaultRule(action="delay", path=INFERENCE, delay_s=0.05)
    with quick_emulator(key="key-of-a") as a, quick_emulator(key="key-of-b") as b:
        a.use_faults(slow)
        b.use_faults(slow)
        machine.env["TOGETHER_API_KEY"] = None
        runs = machine.command(
            flows=[
                {
                    "input": str(machine.input),
                    "model": MODEL,
                    "output": str(machine.folder / emulator.key),
                    "limits": {"concurrency": 2},
                    "credentials": {"api_key": emulator.key, "base_url": emulator.url},
                }
                for emulator in (a, b)
            ]
        )

        assert runs.wait() == 0, runs.text
        for emulator in (a, b):
            calls = emulator.calls()
            assert sum(call.path == INFERENCE for call in calls) == machine.rows
            assert not [call for call in calls if call.status in (401, 403)]
            assert not emulator.has_endpoints
    assert machine.leases() == ()


def catalogue_paths(machine: Machine) -> Counter[str]:
    return Counter(
        path
        for method, path in machine.management()
        if method == "GET" and any(word in path for word in ("/configs", "/models", "hardware"))
    )
