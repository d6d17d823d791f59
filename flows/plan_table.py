"""The plan on one screen."""

from rich.console import Group, RenderableType
from rich.table import Table

from flows.hardware_table import HardwareTable
from tasks.core.job import Job
from tasks.planning import Plan

_THEN = {
    "delete": "then deleted",
    "stop": "then stopped, and left",
    "keep": "then LEFT AS IT IS, billing",
}


def plan_table(plan: Plan) -> RenderableType:
    """Draw what a run would do: the data, then each hardware with the decision on it."""
    job = plan.look.job
    head = facts()
    head.add_row("input", f"{job.input}, {plan.look.dataset.rows:,} rows")
    head.add_row("model", job.model)
    head.add_row("prompt", prompt_line(job, plan.look.renderer.source))
    head.add_row("output", job.output)
    foot = facts()
    if plan.placement is None:
        assert plan.existing is not None  # noqa: S101 - a plan has one of the two
        foot.add_row("on", f"endpoint {plan.existing.name}, which stands")
        return Group(head, foot)
    foot.add_row(
        "rent",
        f"{job.rental.bounds()} x {plan.placement.chosen.hardware}, ${plan.usd_per_h:.2f}/h "
        f"from READY on, {_THEN[job.rental.teardown]}",
    )
    return Group(head, HardwareTable([*plan.placement.candidates]), foot)


def facts() -> Table:
    """Return a table of names and values; a value that is too long wraps under itself."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", min_width=8, justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def prompt_line(job: Job, source: str) -> str:
    """Return where requests come from, in one line: the template itself, cut where it is long."""
    template = job.prompt.template
    if template is None:
        return source
    line = " ".join(template.split())
    return line if len(line) <= 200 else f"{line[:200]}..."
