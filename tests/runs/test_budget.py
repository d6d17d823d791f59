"""The monthly budget refuses a run that would exceed it, before anything is created."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mayfly.models.budget import read_budget
from mayfly.models.errors import BadRequest
from mayfly.runs.budget import spent_this_month_usd
from mayfly.storage.history_store import append_history
from tests.support.plain_run import carry_out, emulated, job_of

NOV_26_2026 = 1_795_651_200.0
DAY_S = 86_400.0


def record(**changes: Any) -> dict[str, Any]:
    """Return a run of today."""
    return {"ended_at": NOV_26_2026, "usd": 2.0, "provider": "api.together.ai", **changes}


def test_budget_counts_runs_of_this_month_and_provider() -> None:
    history = [
        record(),
        record(provider=None),
        record(usd=None),
        record(ended_at=NOV_26_2026 - 27 * DAY_S),
        record(provider="loopback"),
        {"usd": 5.0},
    ]

    spent = spent_this_month_usd(history, provider="api.together.ai", now=NOV_26_2026)

    assert spent == 4.0


@pytest.mark.parametrize(("text", "budget"), [("", None), (" ", None), ("50", 50), ("$12.5", 12.5)])
def test_budget_is_read_as_dollars(text: str, budget: float | None) -> None:
    assert read_budget(text) == budget


@pytest.mark.parametrize("text", ["lots", "-1", "nan", "inf"])
def test_invalid_budget_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="MAYFLY_MONTHLY_BUDGET_USD must be an amount"):
        read_budget(text)


def test_run_over_the_budget_is_refused_before_create(
    tmp_path: Path,
) -> None:
    with emulated(tmp_path / "home", speed=600.0) as (emulator, environment):
        now = environment.clock.time()
        provider = environment.connection.provider
        append_history(environment.folders, record(ended_at=now, usd=9.95, provider=provider))
        tight = replace(environment, monthly_budget="10")

        with pytest.raises(BadRequest, match=r"budget of \$10.00 .* \$9.95 spent") as refused:
            carry_out(job_of(tmp_path, rows=20), tight)

        assert refused.value.exit_code == 2
        assert emulator.endpoints() == []
        report, _ = carry_out(job_of(tmp_path, rows=20), replace(tight, monthly_budget="100"))
        assert report["rows"]["remaining"] == 0


def test_run_with_nothing_to_send_ignores_the_budget(tmp_path: Path) -> None:
    with emulated(tmp_path / "home", speed=600.0) as (_, environment):
        carry_out(job_of(tmp_path, rows=20), environment)

        again, _ = carry_out(job_of(tmp_path, rows=20), replace(environment, monthly_budget="0"))

    assert again["rows"]["this_run"] == 0
