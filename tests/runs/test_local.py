"""`--local`: the whole job without a key, against the embedded endpoint."""

import pytest

from tests.support.machine import Machine


@pytest.mark.parametrize("api", ["v2", "v1"])
def test_local_run_needs_no_key_and_contacts_no_other_server(machine: Machine, api: str) -> None:
    machine.api = api
    machine.env = {"TOGETHER_API_KEY": None}

    run = machine.run("--local")

    assert run.wait() == 0, run.text
    machine.assert_complete()
    assert machine.report()["endpoints"][0]["teardown"]["not_found_read_back"]
    assert machine.emulator.calls() == []
    assert machine.leases() == ()
