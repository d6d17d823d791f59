"""Preview first, then plan: everything that can be wrong is found before anything is created."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mayfly.models.endpoint import EndpointRef, Replicas
from mayfly.models.errors import BadRequest
from mayfly.models.job import Job
from mayfly.models.offers import Offer, same_hardware
from mayfly.planning.hardware import Placement, place
from mayfly.planning.measurements import Measurement
from mayfly.planning.preview import JobPreview
from mayfly.planning.pricing import ByToken, advice, by_token
from mayfly.planning.ranking import (
    Constraints,
    Quote,
    in_order,
    quotes_for,
    refuse_the_impossible,
    scale_at,
    warnings,
)
from mayfly.planning.tokens import Workload
from mayfly.planning.workload import done_before, size_up, taught
from mayfly.together.control_plane import ControlPlane


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do: the data, the endpoint that it would rent or use, time and cost.

    Attributes:
        placement: The offers in the order in which to try them; None with an existing endpoint.
        load: What the rows that are left amount to.
        quotes: What the job takes on each candidate of the placement, in its order.
        warnings: What is likely to go otherwise than wished.
    """

    preview: JobPreview
    placement: Placement | None
    existing: EndpointRef | None
    load: Workload | None = None
    quotes: tuple[Quote, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def replicas(self) -> Replicas:
        """What the job starts with, on the hardware that is tried first."""
        return self.replicas_on(self.placement.chosen if self.placement is not None else None)

    def replicas_on(self, offer: Offer | None) -> Replicas:
        """Return the bounds on replicas to ask for: the user's, or what the deadline takes."""
        rental, limits = self.preview.job.rental, self.preview.job.limits
        quote = self.quote_of(offer)
        bounds = rental.bounds()
        # With a deadline a range is ours to steer in; without, it is the platform's.
        open_number = not rental.fixes_replicas or bounds.minimum < bounds.maximum
        if quote is None or limits.deadline_s is None or not open_number:
            return bounds
        return Replicas(minimum=quote.forecast.replicas, maximum=quote.forecast.replicas)

    def quote_of(self, offer: Offer | None) -> Quote | None:
        """Return what the job takes on an offer, if that was worked out."""
        return next((quote for quote in self.quotes if quote.offer == offer), None)

    def scale_at(self, offer: Offer) -> float:
        """Return the requests in flight per replica at which a further replica is worth it."""
        return scale_at(self.quote_of(offer))

    @property
    def chosen(self) -> Quote | None:
        """What the job takes on the hardware that is tried first."""
        return self.quote_of(self.placement.chosen) if self.placement is not None else None

    @property
    def by_token(self) -> tuple[ByToken, ...]:
        """The same job on serverless and as batches, where the catalogue has the price."""
        if self.load is None or self.placement is None:
            return ()
        return by_token(self.load, self.placement.chosen.token_usd)

    @property
    def advice(self) -> str:
        """Whether the job is cheaper by the token, in one line; "" when that is not known."""
        quote = self.chosen
        return "" if quote is None else advice(quote.forecast, self.by_token)

    @property
    def rows_over_context(self) -> int | None:
        """About how many rows do not fit the model's context; None where that is not known."""
        context = None if self.placement is None else self.placement.chosen.max_context
        if context is None or self.load is None or self.load.sizes is None:
            return None
        return self.load.sizes.over(context - (self.preview.job.sampling.max_tokens or 1))

    @property
    def usd_per_h(self) -> float:
        """Dollars per hour while the replicas that the job starts with are ready."""
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
    """Choose hardware for the job, or find the endpoint that it names; work out time and cost.

    Args:
        folders: The environment variables that name where mayfly keeps its history, and the
            Hugging Face hub its tokenizers.
        learned: What the run itself has measured.
        without: Offers that could not be had a moment ago, whatever is said of their room.
        spent_s: Time that the run has taken so far.

    Raises:
        BadRequest: No such model, hardware, region or endpoint; limits that cannot be kept.
        HardwareUnavailable: Offers fit, and none has room now.
    """
    job = preview.job
    past = [*taught(folders, preview.provider), *learned]
    load = size_up(
        job,
        preview.dataset,
        preview.renderer,
        before=done_before(job.output, preview.fingerprint),
        past=past,
        folders=folders,
    )
    if job.rental.endpoint is not None:
        existing = plane.find(job.rental.endpoint)
        if existing is None:
            raise BadRequest(
                f"endpoint {job.rental.endpoint}: there is none of that name in project "
                f"{plane.project}; see `mayfly endpoints list`"
            )
        return Plan(preview=preview, placement=None, existing=priced(existing, plane), load=load)
    rough = select_hardware(job, plane).without([offer.hardware for offer in without])
    constraints = constraints_of(job, spent_s)
    quotes = quotes_for(rough, load, constraints, model=job.model, past=past)
    placement = in_order(rough, quotes, constraints, by_hand=job.rental.hardware != "auto")
    by_offer = {quote.offer: quote for quote in quotes}
    quotes = tuple(by_offer[candidate.offer] for candidate in placement.candidates)
    able = [by_offer[offer] for offer in placement.eligible]
    if not spent_s:
        refuse_the_impossible(able, load, constraints)
    return Plan(
        preview=preview,
        placement=placement,
        existing=None,
        load=load,
        quotes=quotes,
        warnings=tuple(warnings(able[0], load, constraints)),
    )


def constraints_of(job: Job, spent_s: float = 0.0) -> Constraints:
    """Return what a job asks of its endpoint when so much of its time has gone."""
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
    """Return an endpoint that stands with what its hardware costs, so that a cap can be kept."""
    for offer in plane.all_hardware() if existing.hardware else ():
        if same_hardware(offer.hardware, existing.hardware):
            return replace(existing, price_usd_per_h=offer.price_usd_per_h)
    return existing


def select_hardware(job: Job, plane: ControlPlane) -> Placement:
    """Ask what is offered for the model now, and decide on each offer."""
    return place(
        plane.offers(job.model, config=job.rental.config),
        model=job.model,
        hardware=job.rental.hardware,
        regions=job.rental.placement,
        replicas=job.rental.bounds().minimum,
    )
