"""Look first, then plan: everything that can be wrong is found before anything is created."""

from dataclasses import dataclass
from typing import Any

from tasks.cloud.connection import Connection
from tasks.cloud.control_plane import ControlPlane
from tasks.core.endpoint import EndpointRef
from tasks.core.errors import BadRequest, CredentialsRefused
from tasks.core.failure import NULL_PROMPT, Failure
from tasks.core.job import Job, fingerprint
from tasks.core.manifest import Manifest
from tasks.core.placement import Placement, place
from tasks.core.sharding import plan_shards
from tasks.inference.prompt import Renderer
from tasks.storage.dataset import Dataset, open_dataset
from tasks.storage.parts import check_columns

PREVIEW_ROWS = 8
"""Rows rendered before anything is rented: enough to see a template that cannot work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is known of a job without asking the API.

    Attributes:
        fingerprint: SHA-256 (hex) that ties the output to request, input and provider.
        provider: Identity of the API host.
    """

    job: Job
    dataset: Dataset
    renderer: Renderer
    fingerprint: str
    provider: str

    def manifest(self, now: float) -> Manifest:
        """Return the manifest of a run that begins `now` (Unix time, seconds)."""
        return Manifest(
            fingerprint=self.fingerprint,
            identity=self.job.identity(),
            input=self.dataset.describe(),
            provider=self.provider,
            shards=tuple(
                plan_shards(self.dataset.row_groups, shard_rows=self.job.limits.shard_rows)
            ),
            created_at=now,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do: the data, and the endpoint that it would rent or use."""

    look: Look
    placement: Placement | None
    existing: EndpointRef | None

    @property
    def usd_per_h(self) -> float:
        """Dollars per hour while the replicas that the job starts with are ready."""
        if self.placement is None:
            return 0.0
        return self.placement.chosen.price_usd_per_h * self.look.job.rental.bounds().minimum

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values, for scripts."""
        job = self.look.job
        return {
            "input": job.input,
            "model": job.model,
            "rows": self.look.dataset.rows,
            "columns": list(self.look.dataset.columns),
            "fingerprint": self.look.fingerprint,
            "endpoint": None if self.existing is None else self.existing.name,
            "replicas": str(job.rental.bounds()),
            "hardware": None if self.placement is None else self.placement.chosen.hardware,
            "usd_per_h": self.usd_per_h,
            # Estimates need measured throughput; until there is some, they are not guessed.
            "estimated_s": None,
            "estimated_usd": None,
            "candidates": []
            if self.placement is None
            else [
                {
                    **candidate.offer.as_dict(),
                    "eligible": candidate.eligible,
                    "why": candidate.why,
                    "chosen": candidate.offer == self.placement.chosen,
                }
                for candidate in self.placement.candidates
            ],
        }


def look_first(job: Job, connection: Connection) -> Look:
    """Read the input's footers, compile the prompt and render a few rows.

    Raises:
        BadRequest: The input, its columns or the prompt cannot work; one line says what to do.
    """
    dataset = open_dataset(job.input, limit=job.rows.limit)
    check_columns(dataset)
    renderer = Renderer(job.prompt, job.sampling, dataset.columns)
    rendered = [
        request
        for chunk in dataset.read(0, min(PREVIEW_ROWS, dataset.rows), renderer.needs)
        for request in renderer.bodies(job.model, chunk.first_row, chunk.columns, chunk.rows)
    ]
    failures = [Failure.parse(request.error) for request in rendered if request.error]
    broken = [failure.words for failure in failures if failure.kind != NULL_PROMPT]
    if len(broken) == len(rendered):
        raise BadRequest(
            f"input {job.input}: none of the first {len(rendered)} rows can be sent "
            f"({broken[0]}); mend the prompt or the data"
        )
    return Look(
        job=job,
        dataset=dataset,
        renderer=renderer,
        fingerprint=fingerprint(job.identity(), dataset.fingerprint, connection.provider),
        provider=connection.provider,
    )


def make_plan(look: Look, plane: ControlPlane) -> Plan:
    """Choose hardware for the job, or find the endpoint that it names.

    Raises:
        BadRequest: No such model, hardware, region or endpoint.
        HardwareUnavailable: Offers fit, and none has room now.
    """
    try:
        return _plan(look, plane)
    except CredentialsRefused as refusal:
        # Nothing stands yet: it is the request that is wrong, not a run that failed.
        raise BadRequest(str(refusal)) from refusal


def _plan(look: Look, plane: ControlPlane) -> Plan:
    job = look.job
    if job.rental.endpoint is not None:
        existing = plane.find(job.rental.endpoint)
        if existing is None:
            raise BadRequest(
                f"endpoint {job.rental.endpoint}: there is none of that name in project "
                f"{plane.project}; see `mayfly endpoints list`"
            )
        return Plan(look=look, placement=None, existing=existing)
    return Plan(look=look, placement=select_hardware(job, plane), existing=None)


def select_hardware(job: Job, plane: ControlPlane) -> Placement:
    """Ask what is offered for the model now, and decide on each offer."""
    return place(
        plane.offers(job.model),
        model=job.model,
        hardware=job.rental.hardware,
        regions=job.rental.places,
        replicas=job.rental.bounds().minimum,
    )
