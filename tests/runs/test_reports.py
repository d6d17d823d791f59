"""A report of each run; the output's own is of the last run that sent anything."""

import orjson

from tests.support.machine import Machine


def test_finished_command_run_again_leaves_the_paid_runs_report(stage: Machine) -> None:
    assert stage.run().wait() == 0
    paid = stage.report()

    assert stage.run().wait() == 0

    assert stage.report() == paid
    assert paid["cost"]["usd"] > 0
    reports = sorted((stage.output / "_mayfly" / "runs").glob("*/report.json"))
    costs = sorted(orjson.loads(path.read_bytes())["cost"]["usd"] for path in reports)
    assert costs == [0, paid["cost"]["usd"]]
    assert (stage.output / "_mayfly" / "runs" / paid["run"] / "report.html").exists()
