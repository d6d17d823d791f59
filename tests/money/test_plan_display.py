"""Plan and history on screens of any width; the optional local tokenizer."""

import io
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console, RenderableType

from mayfly.cli.render.history import history_table
from mayfly.cli.render.plan import plan_table
from mayfly.models.errors import BadRequest
from mayfly.models.job import Job, Rows
from mayfly.planning.plan import Plan, make_plan
from mayfly.planning.preview import preview_job
from mayfly.runs.environment import Environment
from mayfly.storage.history_store import append_history, read_history
from mayfly.storage.tokenizer import cached_tokenizer
from mayfly.together.factory import connect
from tests.support.plain_run import carry_out, emulated, job_of
from together_emulator import FaultRule


def planned(job: Job, environment: Environment) -> Plan:
    """Return the plan of a job."""
    connection = environment.connection
    with connect("v2", connection) as plane:
        return make_plan(preview_job(job, connection.provider), plane, environment.folders)


def drawn(what: RenderableType, width: int) -> list[str]:
    """Return the lines that a terminal of some width shows."""
    out = io.StringIO()
    Console(file=out, width=width, highlight=False, color_system=None).print(what)
    return out.getvalue().splitlines()


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """The plan of a small job."""
    with emulated(tmp_path / "home", speed=60.0) as (_, environment):
        return planned(job_of(tmp_path, rows=50), environment)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_plan_fits_one_screen_at_any_width(plan: Plan, width: int) -> None:
    lines = drawn(plan_table(plan), width)

    assert len(lines) <= 24
    table = [line for line in lines if "h100-80gb" in line and "→" in line]
    assert len(table) == 1
    for word in ("$/h", "free", "tokens/s", "time", "cost", "$/Mtok"):
        assert any(word in line for line in lines), word
    assert any("Batch API is" in line for line in lines)


def test_plan_explains_only_columns_that_it_shows(plan: Plan) -> None:
    wide, narrow = "\n".join(drawn(plan_table(plan), 120)), "\n".join(drawn(plan_table(plan), 50))

    assert "$/Mtok: per million tokens, in and out; free: replicas, + or more" in wide
    assert "$/Mtok" not in narrow
    assert "free:" not in narrow


def test_plan_of_a_finished_job_has_no_hardware_and_no_cost(tmp_path: Path) -> None:
    with emulated(tmp_path / "home", speed=600.0) as (_, environment):
        carry_out(job_of(tmp_path, rows=20), environment)
        again = planned(job_of(tmp_path, rows=20), environment)

    text = "\n".join(drawn(plan_table(again), 120))
    assert again.finished
    assert again.as_dict()["finished"]
    assert "rows left  none" in text
    assert "$" not in text


def test_plan_of_failed_rows_estimates_those_and_is_not_finished(tmp_path: Path) -> None:
    with emulated(tmp_path / "home", speed=600.0) as (emulator, environment):
        emulator.use_faults(
            FaultRule(action="status", path="^/v1/chat", body="What is [37] times", status=422)
        )
        report, _ = carry_out(job_of(tmp_path, rows=20), environment)
        job = job_of(tmp_path, rows=20)
        kept = planned(job, environment)
        again = job.model_copy(update={"rows": Rows(retry_failed=True)})
        retried = planned(again, environment)

    assert report["rows"]["failed"] == 2
    assert kept.finished
    assert not retried.finished
    assert retried.load is not None
    assert retried.load.rows == 2
    assert "rows left  2; earlier" in "\n".join(drawn(plan_table(retried), 120))


def test_plan_without_a_named_output_shows_none(plan: Plan) -> None:
    shown = drawn(plan_table(plan, named_output=False), 120)

    assert not any(line.split()[:1] == ["output"] for line in shown)


def test_plan_json_has_every_figure_with_its_interval(plan: Plan) -> None:
    value = json.loads(json.dumps(plan.as_dict()))

    for name in ("seconds", "usd", "tokens_per_s_per_replica"):
        interval = value["candidates"][0]["estimate"][name]
        assert interval["low"] <= interval["mid"] <= interval["high"]
    assert value["by_token"]["batch"]["usd"]["mid"] == pytest.approx(
        value["by_token"]["serverless"]["usd"]["mid"] / 2, rel=1e-3
    )
    assert value["estimated_usd"] == value["estimate"]["usd"]["mid"]
    assert value["workload"]["prompt_tokens"]["low"] < value["workload"]["prompt_tokens"]["high"]


def test_plan_price_per_million_tokens_is_cost_over_tokens(plan: Plan) -> None:
    assert plan.load is not None
    tokens = plan.load.prompt_tokens.mid + plan.load.answer_tokens.mid

    for quote in plan.quotes:
        found = quote.forecast
        assert found.usd_per_million == pytest.approx(found.usd.mid / tokens * 1e6)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [({"deadline_s": 2.0}, "cannot be met"), ({"max_cost_usd": 0.05}, "costs \\$0.09")],
)
def test_impossible_limits_are_refused_before_create(
    tmp_path: Path, limits: dict[str, Any], expected: str
) -> None:
    with emulated(tmp_path / "home", speed=60.0) as (emulator, environment):
        with pytest.raises(BadRequest, match=expected) as refused:
            planned(job_of(tmp_path, rows=50, limits=limits), environment)
        assert emulator.endpoints() == []

    assert refused.value.exit_code == 2


def test_history_shows_table_and_bars_and_skips_unknown_records(
    tmp_path: Path,
) -> None:
    environ = {"MAYFLY_HISTORY": str(tmp_path)}
    held = {"low": 1.0, "mid": 2.0, "high": 3.0, "actual": 5.0, "held": False}
    run = {
        "started_at": 1.8e9, "ended_at": 1.8e9 + 600, "model": "Qwen/Qwen2.5-7B-Instruct",
        "hardware": "1xnvidia-h100-80gb", "rows": 1000, "completion_tokens": 60_000,
        "completion_tokens_per_s": 3000.0, "usd": 0.37, "usd_per_million_tokens": 3.5,
        "outcome": "complete", "estimate": {"usd": held, "seconds": held},
    }  # fmt: skip
    append_history(environ, run)
    append_history(environ, {"started_at": None, "later": True})
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"cut": ')

    runs = read_history(environ)

    for width in (80, 120):
        lines = drawn(history_table(runs), width)
        assert any("1,000" in line and "$0.37" in line for line in lines)
        assert any("█" in line for line in lines)
        assert max(map(len, lines)) <= width
    assert "no runs yet" in drawn(history_table([]), 80)[0]


def test_local_tokenizer_is_used_and_never_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Words:
        """Counts words instead of tokens."""

        @classmethod
        def from_file(cls, path: str) -> "Words":
            assert path.endswith("tokenizer.json")
            return cls()

        def encode(self, text: str) -> Any:
            return type("Encoding", (), {"ids": text.split()})

    library = ModuleType("tokenizers")
    library.Tokenizer = Words  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tokenizers", library)
    environ = {"HF_HOME": str(tmp_path)}
    assert cached_tokenizer(environ, "Qwen/Q") is None
    snapshot = tmp_path / "hub" / "models--Qwen--Q" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (snapshot / "tokenizer.json").write_text("{}")

    count = cached_tokenizer(environ, "Qwen/Q")

    assert count is not None
    assert count("three little words") == 3
