"""Whole runs over HTTP: the bill of the emulator and the decisions of the run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mayfly.planning.measurements import Measurement
from mayfly.planning.plan import make_plan
from mayfly.runs.accounting import measurement
from mayfly.runs.calibration import measure_rows
from mayfly.runs.handle import RunHandle
from mayfly.runs.run import begin
from tests.support.plain_run import (
    B200,
    H100,
    H200,
    MODEL,
    carry_out,
    emulated,
    job_of,
    plan_of,
    tear_down,
)
from together_emulator.state.catalogue import Catalogue
from together_emulator.state.default_catalogue import default_catalogue
from together_emulator.state.faults import FaultRule

MINUTE_USD = 5.49 / 60
SPEED = 30.0
"""Emulated seconds in a second: a minute takes two."""


def test_cost_cap_ends_the_run_in_time_and_the_rest_resumes(
    tmp_path: Path,
) -> None:
    cap_usd = 3 * MINUTE_USD
    settings = {"start_factor": 0.1, "drain_s": 10.0}
    with emulated(tmp_path / "home", speed=SPEED, **settings) as (emulator, environment):
        job = job_of(
            tmp_path, rows=900, limits={"max_cost_usd": cap_usd, "concurrency": 2},
            rental={"hardware": H100},
        )  # fmt: skip
        report, stopped = carry_out(job, environment)
        first = emulator.ledger()
        left = report["rows"]["remaining"]
        again, _ = carry_out(job_of(tmp_path, rows=900, rental={"hardware": H100}), environment)

        assert stopped is not None
        assert stopped.exit_code == 5
        assert "rows are left; run the same command again to answer them for about" in str(stopped)
        assert 0 < left < 900
        assert first.billing == 0
        assert first.usd <= cap_usd + MINUTE_USD + 1e-6
        assert again["rows"]["resumed"] == 900 - left
        assert not emulator.has_endpoints


def test_unavailable_hardware_is_deleted_and_the_next_is_tried(
    tmp_path: Path,
) -> None:
    full = FaultRule(
        action="status", method="POST", path="/deployments", nth=(1,), status=400,
        message="no quota for this hardware",
    )  # fmt: skip
    fails = FaultRule(action="fail_start", method="POST", path="/deployments", nth=(2,))
    endpoint_counts: list[int] = []
    with emulated(tmp_path / "home", speed=600.0, faults=[full, fails], start_factor=0.1) as (
        emulator,
        environment,
    ):
        report, stopped = carry_out(
            job_of(tmp_path, rows=20),
            environment,
            before_each=lambda: endpoint_counts.append(len(emulator.endpoints())),
        )

    assert stopped is None
    assert report["rows"]["remaining"] == 0
    assert endpoint_counts == [0, 0, 0]
    assert [endpoint["hardware"] for endpoint in report["endpoints"]] == [H100, H200, B200]
    assert ["no quota" in report["moves"][0], "FAILED" in report["moves"][1]] == [True, True]
    assert [endpoint["replica_minutes"] > 0 for endpoint in report["endpoints"]] == [0, 0, 1]


def test_wait_for_capacity_is_bounded(
    tmp_path: Path,
) -> None:
    # B200 does not report its capacity; it has none.
    free = {(B200, None): 0}
    with emulated(tmp_path / "home", speed=600.0, free=free, start_factor=0.1) as (
        emulator,
        environment,
    ):
        job = job_of(
            tmp_path, rows=20, rental={"hardware": "auto", "capacity_timeout_s": 0.5},
        )  # fmt: skip
        past = [
            Measurement(provider="loopback", model=MODEL, hardware=hardware, work_per_s=rate)
            for hardware, rate in ((H100, 1000.0), (H200, 900.0), (B200, 90_000.0))
        ]
        teach(tmp_path / "home", past)
        report, _ = carry_out(job, environment)
        assert not emulator.has_endpoints

    assert [endpoint["hardware"] for endpoint in report["endpoints"]] == [B200, H100]
    assert "no capacity" in report["moves"][0]
    assert report["endpoints"][0]["usd"] == 0
    assert report["rows"]["remaining"] == 0


def test_replica_range_is_scaled_for_a_batch(
    tmp_path: Path,
) -> None:
    with emulated(tmp_path / "home", speed=600.0, start_factor=0.1, keep_bodies=True) as (
        emulator,
        environment,
    ):
        report, _ = carry_out(job_of(tmp_path, rows=20, rental={"replicas": "1-3"}), environment)
        bodies = [
            json.loads(call.body)
            for call in emulator.calls()
            if call.method == "POST" and call.path.endswith("/deployments")
        ]

    assert report["rows"]["remaining"] == 0
    scaling = bodies[0]["autoscaling"]
    assert (scaling["minReplicas"], scaling["maxReplicas"]) == (1, 3)
    assert scaling["scalingMetrics"][0]["name"] == "inflight_requests"
    assert scaling["scalingMetrics"][0]["target"] > 8


def test_endangered_deadline_adds_replicas(
    tmp_path: Path,
) -> None:
    # What was learned is four times too good: the first minutes have to find that out.
    past = Measurement(
        provider="loopback", model=MODEL, hardware=H100, work_per_s=1200.0, in_flight=2,
        cold_start_s=50.0, answered=500, completion_tokens=500 * 60,
    )  # fmt: skip
    teach(tmp_path / "home", [past])
    with emulated(
        tmp_path / "home", speed=SPEED / 2, start_factor=0.1, drain_s=10.0,
        catalogue=two_at_once(),
    ) as (emulator, environment):  # fmt: skip
        job = job_of(
            tmp_path, rows=2000, limits={"deadline_s": 400.0}, rental={"hardware": H100},
        )  # fmt: skip
        report, stopped = carry_out(job, environment)
        bill = emulator.ledger()

    estimated = report["estimate"]["seconds"]
    print(
        f"\nemulator, deadline 400 s: {len(bill.lines)} replicas, {report['rows']['done']} of 2000 "
        f"rows, estimated {estimated['mid']:.0f} s, stopped: {stopped}"
    )
    assert len(bill.lines) > 1
    assert report["rows"]["done"] > 1200


def two_at_once() -> Catalogue:
    """Return the catalogue with replicas that take two requests at once, and no more."""
    catalogue = default_catalogue()
    return Catalogue(
        models=tuple(
            replace(model, profiles=tuple(replace(p, concurrency=3) for p in model.profiles))
            for model in catalogue.models
        ),
        hardware=catalogue.hardware,
    )


def teach(home: Path, past: list[Measurement]) -> None:
    """Write a history that holds such lessons."""
    home.mkdir(parents=True, exist_ok=True)
    record = {"lessons": [measurement.as_dict() for measurement in past]}
    (home / "history.jsonl").write_text(json.dumps(record) + "\n")


@pytest.mark.soak
def test_calibration_rows_find_the_cheapest_hardware_and_are_kept(
    tmp_path: Path,
) -> None:
    slots = 255
    with emulated(
        tmp_path / "home", speed=0.4, start_factor=0.0005, schedule_s=0.1, drain_s=0.2,
        routing_s=0.1,
    ) as (emulator, environment), begin(
        job_of(tmp_path, rows=1000), RunHandle(environment=environment)
    ) as run:  # fmt: skip
        plan = plan_of(run)
        assert plan.placement is not None
        measurements, endpoint_counts = [], []
        for offer in plan.placement.eligible:
            endpoint_counts.append(len(emulator.endpoints()))
            run.provisioner.provision(offer, calibrating=True)
            session = run.provisioner.session
            session.await_ready(run.monitor.check_while_waiting)
            measure_rows(run, 256)
            tear_down(run)
            run.inference.settle()
            measurements.append(measurement(session, plan, provider="loopback"))
        chosen = make_plan(
            run.preview, run.plane, environment.folders, learned=measurements, spent_s=60.0
        ).chosen
        requests = sum(call.path.endswith("/chat/completions") for call in emulator.calls())

    profiles = {p.hardware: p for p in default_catalogue().models[0].profiles}
    assert chosen is not None
    true_usd = {
        offer.hardware: offer.price_usd_per_h
        * (1 + (slots - 1) / profiles[offer.hardware].saturation)
        / (slots * profiles[offer.hardware].served_tps)
        for offer in plan.placement.eligible
    }
    excess = true_usd[chosen.offer.hardware] / min(true_usd.values()) - 1
    print(
        f"\ncalibration on the emulator: {chosen.offer.hardware}, {100 * excess:.1f} % above the "
        f"cheapest; measured {[round(past.work_per_s) for past in measurements]} tokens/s"
    )
    assert excess <= 0.05
    assert endpoint_counts == [0, 0, 0]
    assert requests == run.output.total.done == 3 * 256
