"""Plan a previewed job: hardware, replicas, time and cost, before anything is created."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mayfly.models.endpoint import EndpointRef, Replicas
from mayfly.models.errors import BadRequest
from mayfly.models.job import Job
from mayfly.models.offers import Offer, same_hardware
from mayfly.planning.hardware import Placement, select_offers
from mayfly.planning.measurements import Measurement
from mayfly.planning.preview import JobPreview
from mayfly.planning.pricing import ByToken, advice, by_token
from mayfly.planning.ranking import (
    Constraints,
    Quote,
    quotes_for,
    rank_offers,
    reject_impossible_limits,
    scale_at,
    warnings,
)
from mayfly.planning.tokens import Workload
from mayfly.planning.workload import (
    earlier_runs,
    earlier_tally,
    estimate_workload,
    is_finished,
    past_measurements,
)
from mayfly.together.control_plane import ControlPlane


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do: its data, the endpoint to create or use, time and cost.

    Attributes:
        placement: The offers in the order in which to try them; None with an existing endpoint, and
            for a finished job.
        load: Workload of the remaining rows.
        quotes: Time and cost on each candidate of the placement, in its order.
        warnings: Limits that the run is likely to miss, one line each.
        finished: Whether earlier runs have done every row, so that a run creates nothing.
    """

    preview: JobPreview
    placement: Placement | None
    existing: EndpointRef | None
    load: Workload | None = None
    quotes: tuple[Quote, ...] = ()
    warnings: tuple[str, ...] = ()
    finished: bool = False

    @property
    def replicas(self) -> Replicas:
        """Replicas to start with on the hardware that is tried first."""
        return self.replicas_on(self.placement.chosen if self.placement is not None else None)

    def replicas_on(self, offer: Offer | None) -> Replicas:
        """Return the replica bounds to request: the user's, or what the deadline requires."""
        rental, limits = self.preview.job.rental, self.preview.job.limits
        quote = self.quote_of(offer)
        bounds = rental.bounds()
        # With a deadline the run scales within a range; without one the platform does.
        open_number = not rental.fixes_replicas or bounds.minimum < bounds.maximum
        if quote is None or limits.deadline_s is None or not open_number:
            return bounds
        return Replicas(minimum=quote.forecast.replicas, maximum=quote.forecast.replicas)

    def quote_of(self, offer: Offer | None) -> Quote | None:
        """Return the quote of an offer, or None if it has none."""
        return next((quote for quote in self.quotes if quote.offer == offer), None)

    def scale_at(self, offer: Offer) -> float:
        """Return the requests in flight per replica at which the platform adds a replica."""
        return scale_at(self.quote_of(offer))

    @property
    def chosen(self) -> Quote | None:
        """The quote of the hardware that is tried first."""
        return self.quote_of(self.placement.chosen) if self.placement is not None else None

    @property
    def by_token(self) -> tuple[ByToken, ...]:
        """Cost of the same job on serverless and in batches, where the price is published."""
        if self.load is None or self.placement is None:
            return ()
        return by_token(self.load, self.placement.chosen.token_usd)

    @property
    def advice(self) -> str:
        """One line on whether the job is cheaper by the token; "" when that is unknown."""
        quote = self.chosen
        return "" if quote is None else advice(quote.forecast, self.by_token)

    @property
    def rows_over_context(self) -> int | None:
        """Estimated rows that exceed the model's context; None when that is unknown."""
        context = None if self.placement is None else self.placement.chosen.max_context
        if context is None or self.load is None or self.load.sizes is None:
            return None
        return self.load.sizes.over(context - (self.preview.job.sampling.max_tokens or 1))

    @property
    def usd_per_h(self) -> float:
        """Dollars per hour while the initial replicas are ready."""
        if self.placement is None:
            return self.existing.price_usd_per_h if self.existing is not None else 0.0
        return self.placement.chosen.price_usd_per_h * self.replicas.minimum

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values, for scripts."""
        job, quote = self.preview.job, self.chosen
        candidates = () if self.placement is None else self.placement.candidates
        return {
            "input": job.input,
            "model": job.model,
            "rows": self.preview.dataset.rows,
            "finished": self.finished,
            "columns": list(self.preview.dataset.columns),
            "copied": self.preview.dataset.copied,
            "fingerprint": self.preview.fingerprint,
            "endpoint": None if self.existing is None else self.existing.name,
            "replicas": str(self.replicas),
            "hardware": None if self.placement is None else self.placement.chosen.hardware,
            "usd_per_h": self.usd_per_h,
            "context": None if self.placement is None else self.placement.chosen.max_context,
            "rows_over_context": self.rows_over_context,
            "workload": None if self.load is None else self.load.as_dict(),
            "estimated_s": None if quote is None else round(quote.forecast.seconds.mid, 1),
            "estimated_usd": None if quote is None else round(quote.forecast.usd.mid, 6),
            "estimate": None if quote is None else quote.as_dict(),
            "by_token": {other.name: other.as_dict() for other in self.by_token},
            "advice": self.advice,
            "warnings": list(self.warnings),
            "candidates": [
                {
                    **candidate.offer.as_dict(),
                    "eligible": candidate.eligible,
                    "why": candidate.why,
                    "chosen": index == 0 and candidate.eligible,
                    "estimate": None if quoted is None else quoted.as_dict(),
                }
                for index, candidate in enumerate(candidates)
                for quoted in [self.quote_of(candidate.offer)]
            ],
        }


def make_plan(
    preview: JobPreview,
    plane: ControlPlane,
    folders: Mapping[str, str],
    *,
    learned: Sequence[Measurement] = (),
    without: Sequence[Offer] = (),
    spent_s: float = 0.0,
) -> Plan:
    """Choose hardware for the job, or find the named endpoint; estimate time and cost.

    Args:
        folders: The environment variables that name the folders of mayfly's history and of the
            Hugging Face tokenizers.
        learned: Measurements of this run.
        without: Offers that were just refused, whatever capacity they report.
        spent_s: Seconds that the run has taken so far.

    Raises:
        BadRequest: No such model, hardware, region or endpoint; limits that cannot be met.
        HardwareUnavailable: Offers fit, but none has free capacity.
    """
    job = preview.job
    past = [*past_measurements(folders, preview.provider), *learned]
    earlier = earlier_runs(preview)
    finished = is_finished(preview, earlier)
    load = estimate_workload(
        job,
        preview.dataset,
        preview.renderer,
        before=earlier_tally(job.output, earlier),
        finished=finished,
        past=past,
        folders=folders,
    )
    if finished:
        # It needs no endpoint, so neither a model nor room for it.
        return Plan(preview=preview, placement=None, existing=None, load=load, finished=True)
    if job.rental.endpoint is not None:
        existing = plane.find(job.rental.endpoint)
        if existing is None:
            raise BadRequest(
                f"--endpoint {job.rental.endpoint} does not exist in project {plane.project}; "
                "`mayfly endpoints list` shows those that do"
            )
        return Plan(
            preview=preview,
            placement=None,
            existing=priced(existing, plane),
            load=load,
        )
    rough = select_hardware(job, plane).without([offer.hardware for offer in without])
    constraints = constraints_of(job, spent_s)
    quotes = quotes_for(rough, load, constraints, model=job.model, past=past)
    placement = rank_offers(
        rough, quotes, constraints, hardware_named=job.rental.hardware != "auto"
    )
    by_offer = {quote.offer: quote for quote in quotes}
    quotes = tuple(by_offer[candidate.offer] for candidate in placement.candidates)
    able = [by_offer[offer] for offer in placement.eligible]
    if not spent_s:
        reject_impossible_limits(able, load, constraints)
    return Plan(
        preview=preview,
        placement=placement,
        existing=None,
        load=load,
        quotes=quotes,
        warnings=tuple(warnings(able[0], load, constraints)),
    )


def constraints_of(job: Job, spent_s: float = 0.0) -> Constraints:
    """Return a job's constraints on its endpoint after `spent_s` seconds of its run."""
    deadline_s = job.limits.deadline_s
    bounds = job.rental.bounds()
    return Constraints(
        minimum=bounds.minimum,
        maximum=bounds.maximum if job.rental.fixes_replicas else None,
        regions=job.rental.placement,
        max_cost_usd=job.limits.max_cost_usd,
        deadline_s=None if deadline_s is None else max(1.0, deadline_s - spent_s),
    )


def priced(existing: EndpointRef, plane: ControlPlane) -> EndpointRef:
    """Return an existing endpoint with the price of its hardware, so that --max-cost works."""
    for offer in plane.all_hardware() if existing.hardware else ():
        if same_hardware(offer.hardware, existing.hardware):
            return replace(existing, price_usd_per_h=offer.price_usd_per_h)
    return existing


def select_hardware(job: Job, plane: ControlPlane) -> Placement:
    """Fetch the current offers for the model and decide on each."""
    return select_offers(
        plane.offers(job.model, config=job.rental.config),
        model=job.model,
        hardware=job.rental.hardware,
        regions=job.rental.placement,
        replicas=job.rental.bounds().minimum,
        region_option="--region" if job.rental.regions else "--availability-zone",
    )
