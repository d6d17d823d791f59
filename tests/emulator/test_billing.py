"""Which replicas bill, from when until when, and how much."""

import pytest

from tests.support.emulator_client import COLD_START_S, DRAIN_S, EmulatorClient

READY_AT_S = 300.0
"""Scheduling takes 20 s, the small model's start 280 s."""


def test_replica_bills_from_ready_until_drained(rig: EmulatorClient) -> None:
    deployment = rig.deploy(rig.endpoint())
    rig.emulator.clock.advance(READY_AT_S - 1)
    before = rig.emulator.ledger()
    rig.emulator.clock.advance(601)

    rig.scale(deployment, 0, 0)
    rig.emulator.clock.advance(3600)

    bill = rig.emulator.ledger()
    assert before.lines == ()
    assert bill.billing == 0
    assert [(line.started_s, line.ended_s) for line in bill.lines] == [(300.0, 915.0)]
    assert bill.minutes == 11
    assert bill.usd == pytest.approx(11 * 5.49 / 60, abs=1e-6)


def test_each_replica_bills_its_gpus(rig: EmulatorClient) -> None:
    profile = rig.profile("meta-llama/Llama-3.3-70B-Instruct", "H200")
    rig.deploy(rig.endpoint(), replicas=(2, 2), profile=profile)

    rig.emulator.clock.advance(720 + 60)

    bill = rig.emulator.ledger()
    assert (bill.billing, bill.minutes) == (2, 2)
    assert bill.usd == pytest.approx(2 * 13.30 / 60, abs=1e-6)


def test_started_minute_bills_as_a_whole_minute(rig: EmulatorClient) -> None:
    deployment = rig.deploy(rig.endpoint())
    rig.emulator.clock.advance(READY_AT_S)
    first = rig.emulator.ledger().minutes

    rig.emulator.clock.advance(60)
    second = rig.emulator.ledger().minutes
    rig.emulator.clock.advance(0.5)
    third = rig.emulator.ledger().minutes

    assert (first, second, third) == (1, 1, 2)
    assert rig.state(deployment) == "READY"


def test_wait_for_capacity_costs_nothing(rig: EmulatorClient) -> None:
    rig.emulator.set_free("1xnvidia-h100-80gb", 0)
    rig.deploy(rig.endpoint())

    rig.emulator.clock.advance(7 * 3600)

    assert rig.emulator.ledger().usd == 0


def test_stop_before_ready_costs_nothing(rig: EmulatorClient) -> None:
    deployment = rig.deploy(rig.endpoint())
    rig.emulator.clock.advance(READY_AT_S - 1)

    rig.scale(deployment, 0, 0)
    rig.emulator.clock.advance(COLD_START_S)

    assert rig.state(deployment) == "STOPPED"
    assert rig.emulator.ledger().lines == ()


def test_lost_replica_stops_billing_and_replacement_bills_from_ready(
    rig: EmulatorClient,
) -> None:
    rig.serve()
    rig.emulator.lose_replica()
    lost = rig.emulator.ledger()

    rig.emulator.clock.advance(COLD_START_S)

    assert (lost.billing, len(lost.lines)) == (0, 1)
    assert (rig.emulator.billing, len(rig.emulator.ledger().lines)) == (1, 2)


def test_bill_has_a_line_for_each_start(rig: EmulatorClient) -> None:
    _, deployment = rig.serve()
    rig.scale(deployment, 0, 0)
    rig.emulator.clock.advance(DRAIN_S)
    rig.scale(deployment, 1, 1)
    rig.emulator.clock.advance(COLD_START_S)

    lines = rig.emulator.ledger().lines

    assert [line.ended_s is None for line in lines] == [False, True]


def test_admin_api_returns_the_same_bill(rig: EmulatorClient) -> None:
    rig.serve()

    wire = rig.http.get("/_emulator/ledger").json()

    assert wire == rig.emulator.ledger().as_dict()
    assert wire["billing"] == 1
