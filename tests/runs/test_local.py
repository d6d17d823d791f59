"""`--local`: the whole job without a key, against the embedded endpoint."""

import pytest

from tests.support.machine import Machine


@pytest.mark.parametrize("api", ["v2", "v1"])
def test_local_run_needs_no_key_and_contacts_no_other_server(stage: Machine, api: str) -> None:
    stage.api = api
    stage.env = {"TOGETHER_API_KEY": None}

    run = stage.run("--local")

    assert run.wait() == 0, run.text
    stage.assert_complete()
    assert stage.report()["endpoints"][0]["teardown"]["not_found_read_back"]
    assert stage.emulator.calls() == []
    assert stage.leases() == ()
