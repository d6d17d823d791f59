"""The plan on one screen."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tasks.core.placement import Candidate, Offer
from tasks.planning import Plan


def plan_table(plan: Plan) -> RenderableType:
    """Draw what a run would do: the data, then each hardware with the decision on it."""
    job = plan.look.job
    head = Text.assemble(
        ("  input   ", "dim"), f"{job.input}, {plan.look.dataset.rows:,} rows\n",
        ("  model   ", "dim"), f"{job.model}\n",
        ("  prompt  ", "dim"), f"{plan.look.renderer.source}\n",
        ("  output  ", "dim"), job.output,
    )  # fmt: skip
    if plan.placement is None:
        assert plan.existing is not None  # noqa: S101 - a plan has one of the two
        return Group(head, Text(f"  on      endpoint {plan.existing.name}, which stands"))
    replicas = job.rental.bounds()
    foot = Text.assemble(
        ("  rent    ", "dim"),
        f"{replicas} x {plan.placement.chosen.hardware}, ${plan.usd_per_h:.2f}/h from READY on, "
        f"billed by the minute; then {job.rental.teardown}",
    )
    return Group(head, hardware_table([*plan.placement.candidates]), foot)


def hardware_table(candidates: list[Candidate] | list[Offer]) -> Table:
    """Draw hardware with price and room; with decisions, if there are any."""
    table = Table(box=None, padding=(0, 2), header_style="bold")
    table.add_column("hardware", no_wrap=True)
    table.add_column("GPUs", justify="right")
    table.add_column("$/h", justify="right")
    table.add_column("free by region")
    decided = any(isinstance(candidate, Candidate) for candidate in candidates)
    if decided:
        table.add_column("chosen and why")
    chosen = next((c for c in candidates if isinstance(c, Candidate) and c.eligible), None)
    for candidate in candidates:
        offer = candidate.offer if isinstance(candidate, Candidate) else candidate
        row = [
            offer.hardware,
            str(offer.gpu_count),
            f"{offer.price_usd_per_h:.2f}",
            ", ".join(str(region) for region in offer.regions) or "not said",
        ]
        style = ""
        if isinstance(candidate, Candidate):
            row.append(("→ " if candidate is chosen else "  ") + candidate.why)
            style = "bold" if candidate is chosen else "" if candidate.eligible else "dim"
        table.add_row(*row, style=style)
    return table
