"""Each run has a report; that of the output is of the last run that sent anything."""

import shutil

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


def test_report_that_cannot_be_written_ends_in_one_line_and_keeps_answers(
    machine: Machine,
) -> None:
    assert machine.run().wait() == 0
    reports = machine.output / "_mayfly" / "runs"
    shutil.rmtree(reports)
    reports.write_bytes(b"")

    run = machine.run()

    assert run.wait() == 1
    assert "cannot be written: " in run.text
    assert "every answer is kept" in run.text
    assert "Traceback" not in run.text
    machine.assert_complete()
