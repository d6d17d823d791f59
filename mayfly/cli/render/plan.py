"""Draw the plan."""

from rich.console import Group, RenderableType
from rich.table import Table

from mayfly.cli.render.estimates import between, quote_table
from mayfly.models.job import Job
from mayfly.models.offers import Offer
from mayfly.planning.plan import Plan
from mayfly.planning.pricing import BATCH_HOURS, ByToken, dollars
from mayfly.planning.prompt_sizes import PromptSizes
from mayfly.planning.ranking import Quote
from mayfly.planning.tokens import Workload
from mayfly.planning.uncertainty import Interval

_THEN = {
    "delete": "then deleted",
    "stop": "then stopped and kept",
    "keep": "then KEPT RUNNING, AND BILLED",
}

_THEN_EXISTING = {
    "delete": "then left as it was found: running or stopped",
    "stop": "then stopped and kept",
    "keep": "then KEPT RUNNING, AND BILLED",
}


def plan_table(plan: Plan, *, named_output: bool = True) -> RenderableType:
    """Draw a plan: the data, then each hardware with its estimate and the decision.

    Args:
        named_output: Whether the user named the job's output.
    """
    head = _data(plan, named_output=named_output)
    if plan.finished:
        return head
    job, foot = plan.preview.job, details_table()
    if plan.placement is None:
        assert plan.existing is not None  # noqa: S101 - a plan has one of the two
        foot.add_row("endpoint", existing_line(plan))
        return Group(head, foot)
    foot.add_row(
        "create",
        f"{plan.replicas} x {plan.placement.chosen.hardware}, ${plan.usd_per_h:.2f}/h "
        f"from READY on, {_THEN[job.rental.teardown]}",
    )
    if (offer := plan.placement.chosen).config:
        foot.add_row("config", _config(offer))
    if (quote := plan.chosen) is not None:
        foot.add_row(
            "estimate",
            f"{_expected(quote)}; the cold start is not billed, then each started minute is",
        )
    for other in plan.by_token:
        foot.add_row(other.name, f"about {dollars(other.usd.mid)}{_batches(other)}")
    if plan.advice:
        foot.add_row("advice", plan.advice)
    for line in (*_too_long(plan), *plan.warnings):
        foot.add_row("note", line, style="bold")
    return Group(head, quote_table(plan.placement.candidates, plan.quotes), foot)


def existing_line(plan: Plan) -> str:
    """Return the existing endpoint that the job names, its price, and what becomes of it."""
    existing = plan.existing
    assert existing is not None  # noqa: S101 - callers check it
    price = f" at ${existing.price_usd_per_h:.2f}/h a replica" if existing.price_usd_per_h else ""
    on = f", {existing.hardware}{price}" if existing.hardware else ""
    then = _THEN_EXISTING[plan.preview.job.rental.teardown]
    return f"{existing.name} (existing{on}), {then}"


def _data(plan: Plan, *, named_output: bool) -> Table:
    """Return the rows of the table that do not depend on the hardware."""
    job, head = plan.preview.job, details_table()
    head.add_row("input", f"{job.input}, {plan.preview.dataset.rows:,} rows")
    if plan.preview.dataset.copied:
        head.add_row("copied", plan.preview.dataset.copied)
    head.add_row("model", job.model)
    head.add_row("prompt", prompt_line(job, plan.preview.renderer.source))
    if plan.load is not None and plan.load.rows:
        head.add_row("tokens", _tokens(plan.load))
        head.add_row("prompts", _sizes(plan.load.sizes))
    if named_output:
        head.add_row("output", job.output)
    if plan.finished:
        head.add_row("rows left", "none: earlier runs into this output have done every row")
    elif plan.load is not None and 0 < plan.load.rows < plan.preview.dataset.rows:
        head.add_row("rows left", f"{plan.load.rows:,}; earlier runs have done the others")
    return head


def _config(offer: Offer) -> str:
    """Return the config that is deployed and its properties, in one line."""
    parts = [offer.config]
    if offer.draft_model:
        parts.append(f"speculative decoding by {offer.draft_model.rsplit('/', 1)[-1]}")
    if offer.optimization and offer.optimization != "balanced":
        parts.append(f"optimised for {offer.optimization}")
    if offer.tokens_per_s is None:
        parts.append("no benchmark of this model: wide estimates; --calibrate measures it")
    return "; ".join(parts)


def _sizes(sizes: PromptSizes | None) -> str:
    """Return the distribution of prompt lengths, in one line."""
    if sizes is None:
        return "none of the sampled rows could be rendered"
    return (
        f"p50 {sizes.quantile(0.5):,} tokens, p90 {sizes.quantile(0.9):,}, "
        f"longest {sizes.longest:,} of {len(sizes.tokens):,} sampled"
    )


def _too_long(plan: Plan) -> list[str]:
    """Return a line on rows that exceed the context; empty where all fit."""
    if not plan.rows_over_context or plan.placement is None:
        return []
    limit = plan.preview.job.sampling.max_tokens
    answers = "" if limit is None else f" with --max-tokens {limit:,}"
    return [
        f"about {plan.rows_over_context:,} rows exceed the context of "
        f"{plan.placement.chosen.max_context:,} tokens{answers} and will fail"
    ]


def _tokens(load: Workload) -> str:
    """Return the tokens of the rows, in one line."""
    parts = [
        f"{_count(tokens.interval)} {way}"
        for tokens, way in ((load.prompt_tokens, "in"), (load.answer_tokens, "out"))
        if tokens.mid >= 1
    ]
    return f"{', '.join(parts)}; {'; '.join(load.basis)}"


def _count(tokens: Interval) -> str:
    low, mid, high = (f"{value:,.0f}" for value in tokens)
    return mid if low == high else f"{mid} ({low}-{high})"


def _expected(quote: Quote) -> str:
    found = quote.forecast
    return (
        f"{between(found.seconds)} and {dollars(found.usd.mid)} "
        f"({dollars(found.usd.low)} to {dollars(found.usd.high)})"
    )


def _batches(other: ByToken) -> str:
    if not other.requests:
        return " by the token, no endpoint"
    many = "" if other.requests == 1 else f" in {other.requests} batches"
    return f"{many}, best effort within {BATCH_HOURS} h"


def details_table() -> Table:
    """Return a table of names and values; long values wrap in their own column."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", min_width=8, justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def prompt_line(job: Job, source: str) -> str:
    """Return the source of the prompts in one line; a long template is cut."""
    template = job.prompt.template
    if template is None:
        return source
    line = " ".join(template.split())
    return line if len(line) <= 200 else f"{line[:200]}..."
