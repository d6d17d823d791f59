"""Step: write the report, and show the result in Prefect."""

import socket
from pathlib import Path
from typing import Any, cast

from prefect.artifacts import create_markdown_artifact
from prefect.assets import Asset, AssetProperties, add_asset_metadata, materialize
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from mayfly.orchestration.artifacts import report_link, result_line, result_markdown
from mayfly.orchestration.record import is_recorded, run_logger
from mayfly.orchestration.server_health import prefect_is_there
from mayfly.reporting.progress import Step
from mayfly.runs.run import Run
from mayfly.storage.output_location import shown_output
from mayfly.tasks.step import step, tell


@step("write report")
def write_report(run: Run) -> dict[str, Any]:
    """Write `report.json` and `report.html`, and publish the result; return the figures."""
    run.progress.enter(Step.REPORTING)
    report = run.write_report("errors" if run.output.total.failed else "complete")
    try:
        if is_recorded() and prefect_is_there():
            publish(run, report)
    except Exception as error:  # noqa: BLE001 - the answers are safe; Prefect's record is for people
        run_logger().warning("Prefect does not show the result: %s", error)
    tell(result_line(report))
    return report


def finished(report: dict[str, Any]) -> dict[str, Any]:
    """Let a flow run's last state say the result; the flow's caller gets the figures out of it."""
    if not is_recorded():
        return report
    return cast("dict[str, Any]", Completed(message=result_line(report), data=report))


def publish(run: Run, report: dict[str, Any]) -> None:
    """Show the result as a page, and register the answers as an asset made from the input."""
    create_markdown_artifact(
        result_markdown(
            report,
            folder=shown_output(run.identity.output),
            host=socket.gethostname(),
            report_url=report_link(run.job.report_url),
        ),
        key="batch-inference-result",
        description=result_line(report),
    )
    answers = Asset(
        key=asset_key(shown_output(run.identity.output)),
        properties=AssetProperties(
            name=f"answers in {Path(shown_output(run.identity.output)).name}",
            description=f"{run.job.model} over {run.job.input}; one row for each row of it",
        ),
    )

    @materialize(
        answers,
        asset_deps=[asset_key(run.job.input)],
        by="mayfly",
        name="register answers",
        task_run_name="register answers",
        cache_policy=NO_CACHE,
    )
    def register_answers() -> None:
        rows, tokens, cost = report["rows"], report["tokens"], report["cost"]
        add_asset_metadata(answers, {"rows": rows, "tokens": tokens, "cost": cost})

    register_answers()


def asset_key(place: str) -> str:
    """Return the URI of a file, a folder or a glob, as Prefect wants it for an asset."""
    if "://" in place:
        return place
    # Prefect refuses spaces and query characters, and the percent sign that would escape them.
    path = str(Path(place).absolute())
    return "file://" + "".join("_" if c in " #?%&<>\"'{}|\\^[]`*\n\t" else c for c in path)
