"""Step: write the report, and show the result in Prefect."""

from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from tasks.progress import Step
from tasks.run import Run
from tasks.step import step

_RESULT = """\
**{answered:,} of {total:,} rows answered**, {failed:,} with an error, {remaining:,} left.

| | |
| --- | --- |
| output | `{output}` |
| report | `{output}/_mayfly/report.html` |
| tokens | {prompt:,} in, {completion:,} out |
| cost | ${usd:.2f} |
| endpoint | {endpoint} |
"""


@step("write report")
def write_report(run: Run) -> dict[str, Any]:
    """Write `report.json` and `report.html`, and publish the result; return the figures."""
    run.progress.enter(Step.REPORTING)
    report = run.close_the_books("errors" if run.total.failed else "complete")
    rows, tokens = report["rows"], report["tokens"]
    create_markdown_artifact(
        _RESULT.format(
            answered=rows["done"] - rows["failed"],
            output=report["output"],
            usd=report["cost"]["usd"],
            endpoint="; ".join(e["ended"] for e in report["endpoints"]) or "none was needed",
            **rows | tokens,
        ),
        key="batch-inference-result",
        description=f"{run.job.model} over {run.job.input}",
    )
    get_run_logger().info("report in %s", run.paths.report_html)
    return report
