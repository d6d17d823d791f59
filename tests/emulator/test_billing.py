"""Which replicas bill, from when until when, and how much."""

import pytest

from tests.support.emulator_client import COLD_START_S, DRAIN_S, EmulatorClient

READY_AT_S = 300.0
"""Scheduling takes 20 s, the small model's start 280 s."""


def test_replica_bills_from_ready_until_drained(api: EmulatorClient) -> None:
    deployment = api.deploy(api.endpoint())
    api.emulator.clock.advance(READY_AT_S - 1)
    before = api.emulator.ledger()
    api.emulator.clock.advance(601)

    api.scale(deployment, 0, 0)
    api.emulator.clock.advance(3600)

    bill = api.emulator.ledger()
    assert before.lines == ()
    assert bill.billing == 0
    assert [(line.started_s, line.ended_s) for line in bill.lines] == [(300.0, 915.0)]
    assert bill.minutes == 11
    assert bill.usd == pytest.approx(11 * 5.49 / 60, abs=1e-6)


def test_each_replica_bills_its_gpus(api: EmulatorClient) -> None:
    profile = api.profile("meta-llama/Llama-3.3-70B-Instruct", "H200")
    api.deploy(api.endpoint(), replicas=(2, 2), profile=profile)

    api.emulator.clock.advance(720 + 60)

    bill = api.emulator.ledger()
    assert (bill.billing, bill.minutes) == (2, 2)
    assert bill.usd == pytest.approx(2 * 13.30 / 60, abs=1e-6)


def test_started_minute_bills_as_a_whole_minute(api: EmulatorClient) -> None:
    deployment = api.deploy(api.endpoint())
    api.emulator.clock.advance(READY_AT_S)
    first = api.emulator.ledger().minutes

    api.emulator.clock.advance(60)
    second = api.emulator.ledger().minutes
    api.emulator.clock.advance(0.5)
    third = api.emulator.ledger().minutes

    assert (first, second, third) == (1, 1, 2)
    assert api.state(deployment) == "READY"


def test_wait_for_capacity_costs_nothing(api: EmulatorClient) -> None:
    api.emulator.set_free("1xnvidia-h100-80gb", 0)
    api.deploy(api.endpoint())

    api.emulator.clock.advance(7 * 3600)

    assert api.emulator.ledger().usd == 0


def test_stop_before_ready_costs_nothing(api: EmulatorClient) -> None:
    deployment = api.deploy(api.endpoint())
    api.emulator.clock.advance(READY_AT_S - 1)

    api.scale(deployment, 0, 0)
    api.emulator.clock.advance(COLD_START_S)

    assert api.state(deployment) == "STOPPED"
    assert api.emulator.ledger().lines == ()


def test_lost_replica_stops_billing_and_replacement_bills_from_ready(
    api: EmulatorClient,
) -> None:
    api.serve()
    api.emulator.lose_replica()
    lost = api.emulator.ledger()

    api.emulator.clock.advance(COLD_START_S)

    assert (lost.billing, len(lost.lines)) == (0, 1)
    assert (api.emulator.billing, len(api.emulator.ledger().lines)) == (1, 2)


def test_bill_has_a_line_for_each_start(api: EmulatorClient) -> None:
    _, deployment = api.serve()
    api.scale(deployment, 0, 0)
    api.emulator.clock.advance(DRAIN_S)
    api.scale(deployment, 1, 1)
    api.emulator.clock.advance(COLD_START_S)

    lines = api.emulator.ledger().lines

    assert [line.ended_s is None for line in lines] == [False, True]


def test_admin_api_returns_the_same_bill(api: EmulatorClient) -> None:
    api.serve()

    wire = api.http.get("/_emulator/ledger").json()

    assert wire == api.emulator.ledger().as_dict()
    assert wire["billing"] == 1
