"""Step: write the report, and publish the result in Prefect."""

import socket
from pathlib import Path
from typing import Any, cast

from prefect.artifacts import create_markdown_artifact
from prefect.assets import Asset, AssetProperties, add_asset_metadata, materialize
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from mayfly.orchestration.artifacts import report_link, result_line, result_markdown
from mayfly.orchestration.record import is_recorded, run_logger
from mayfly.orchestration.server_health import server_is_reachable
from mayfly.reporting.progress import Step
from mayfly.runs.run import Run
from mayfly.storage.output_location import shown_output
from mayfly.tasks.step import set_message, step


@step("write report")
def write_report(run: Run) -> dict[str, Any]:
    """Write `report.json` and `report.html`, and publish the result; return the figures."""
    run.progress.enter(Step.REPORTING)
    report = run.write_report("errors" if run.output.total.failed else "complete")
    try:
        if is_recorded() and server_is_reachable(run.handle):
            publish(run, report)
    except Exception as error:  # noqa: BLE001 - answers are stored; Prefect's record is for people
        run_logger().warning("Prefect does not show the result: %s", error)
    set_message(result_line(report))
    return report


def finished(report: dict[str, Any]) -> dict[str, Any]:
    """Return the flow run's final state, with the result as its message and the report as data."""
    if not is_recorded():
        return report
    return cast("dict[str, Any]", Completed(message=result_line(report), data=report))


def publish(run: Run, report: dict[str, Any]) -> None:
    """Publish the result as an artifact, and the answers as an asset derived from the input."""
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
            description=f"{run.job.model} over {run.job.input}; one row per input row",
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


def asset_key(location: str) -> str:
    """Return the URI of a file, a folder or a glob in the form of a Prefect asset key."""
    if "://" in location:
        return location
    # Prefect rejects spaces and query characters, and the percent sign that would escape them.
    path = str(Path(location).absolute())
    return "file://" + "".join("_" if c in " #?%&<>\"'{}|\\^[]`*\n\t" else c for c in path)
