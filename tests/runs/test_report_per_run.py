"""Each run has a report; that of the output is of the last run that sent anything."""

import orjson

from tests.support.machine import Machine


def test_rerun_of_finished_run_keeps_its_report(machine: Machine) -> None:
    assert machine.run().wait() == 0
    paid = machine.report()

    assert machine.run().wait() == 0

    assert machine.report() == paid
    assert paid["cost"]["usd"] > 0
    reports = sorted((machine.output / "_mayfly" / "runs").glob("*/report.json"))
    costs = sorted(orjson.loads(path.read_bytes())["cost"]["usd"] for path in reports)
    assert costs == [0, paid["cost"]["usd"]]
    assert (machine.output / "_mayfly" / "runs" / paid["run"] / "report.html").exists()
