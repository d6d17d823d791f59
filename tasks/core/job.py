"""The job: everything a person may ask for, as one value checked where it enters.

The same model is the CLI's options, the flow's parameters and the form in the Prefect UI, so a
field's description is what a person reads in all three.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.core.endpoint import Api, Replicas

Teardown = Literal["delete", "stop", "keep"]
Runner = Literal["local", "processes", "dask", "ray"]


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PromptSpec(_Group):
    """How a row becomes a request; unset, by a `messages` column, else by a `prompt` column."""

    template: str | None = Field(
        default=None, description="Jinja2 template over the row's columns, e.g. {{ question }}"
    )
    messages_column: str | None = Field(
        default=None, description="column that holds a list of role/content, or its JSON"
    )
    system: str | None = Field(default=None, description="system message put before every row")
    completions: bool = Field(
        default=False, description="send the prompt as plain text to /completions, not as a chat"
    )
    embed_column: str | None = Field(
        default=None, description="embed the texts of this column instead of asking anything"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.template is not None and self.messages_column is not None:
            raise ValueError("give a prompt template or a messages column, not both")
        return self


class Sampling(_Group):
    """Sampling settings, the same for every row; what is unset is left to the endpoint."""

    max_tokens: int | None = Field(default=None, ge=1, description="most tokens in an answer")
    temperature: float | None = Field(default=None, ge=0, le=2, description="0 is greedy")
    top_p: float | None = Field(default=None, gt=0, le=1, description="nucleus sampling")
    seed: int | None = Field(default=None, description="for answers that can be had again")
    stop: tuple[str, ...] = Field(default=(), description="texts that end an answer")
    json_schema: dict[str, Any] | None = Field(
        default=None, description="JSON Schema that every answer must fit"
    )


class Rental(_Group):
    """Which endpoint to rent, and what becomes of it."""

    hardware: str = Field(default="auto", description="auto (cheapest with room) or a hardware id")
    replicas: str = Field(
        default="auto",
        pattern=r"^(auto|\d+(-\d+)?)$",
        description="auto (one, or as many as a deadline takes), a number, or MIN-MAX to autoscale",
    )
    regions: tuple[str, ...] = Field(default=(), description="allowed regions; none means any")
    api: Api = Field(default="v2", description="generation of the endpoint API")
    endpoint: str | None = Field(
        default=None, description="name of an endpoint that stands already; it is never deleted"
    )
    teardown: Teardown = Field(
        default="delete", description="what becomes of the endpoint when the batch is done"
    )
    ready_timeout_s: float = Field(
        default=2700.0, gt=0, description="seconds to wait for READY before giving up"
    )
    capacity_timeout_s: float = Field(
        default=300.0, gt=0, description="seconds to wait for capacity before other hardware"
    )
    inactive_timeout_min: int = Field(
        default=30,
        ge=30,
        le=1440,
        description="minutes without a request after which the platform stops the endpoint by "
        "itself: the last line of defence",
    )
    speculative_decoding: bool = Field(
        default=True, description="v1 only: let a small model draft what the large one says"
    )
    availability_zone: str | None = Field(
        default=None, description="v1 only: zone in which to place the endpoint"
    )
    calibrate_rows: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="try this many rows on each of the best hardware, then choose by measured cost",
    )

    @model_validator(mode="after")
    def _bounds_make_sense(self) -> Self:
        self.bounds()
        return self

    @model_validator(mode="after")
    def _switches_are_of_this_generation(self) -> Self:
        if self.api == "v2" and self.availability_zone is not None:
            raise ValueError("availability zones are v1's; name a region, or add --api v1")
        if self.api == "v2" and not self.speculative_decoding:
            raise ValueError("v2 has no switch for speculative decoding; leave it on, or --api v1")
        return self

    @property
    def places(self) -> tuple[str, ...]:
        """Where the endpoint may be: regions, or the zone that v1 calls so; none means any."""
        return self.regions or (() if self.availability_zone is None else (self.availability_zone,))

    @property
    def replicas_by_hand(self) -> bool:
        """Whether the user has fixed the number of replicas, or its bounds."""
        return self.replicas != "auto"

    def bounds(self) -> Replicas:
        """Return the bounds on replicas; one unless the user has said otherwise."""
        if not self.replicas_by_hand:
            return Replicas()
        low, _, high = self.replicas.partition("-")
        if int(low) < 1:
            raise ValueError(f"replicas {self.replicas}: at least one is needed")
        return Replicas(minimum=int(low), maximum=int(high or low))


class Limits(_Group):
    """What the run may use."""

    concurrency: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="requests in flight; unset finds the best number by itself"
    )
    shard_rows: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="rows per shard; unset makes a few dozen shards at most"
    )
    row_attempts: int = Field(default=6, ge=1, le=100, description="requests sent for one row")
    max_cost_usd: float | None = Field(default=None, gt=0, description="stop before this is spent")
    deadline_s: float | None = Field(default=None, gt=0, description="stop after this many seconds")


class Rows(_Group):
    """Which rows of the input are sent."""

    limit: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="only the first N rows"
    )
    retry_failed: bool = Field(
        default=False, description="just the rows of an earlier run that have an error"
    )
    dedupe: bool = Field(default=False, description="send identical requests once")
    incremental: bool = Field(
        default=False, description="just the rows that earlier runs into this output did not see"
    )


class Job(_Group):
    """One batch: a dataset, a model, a folder for the answers."""

    input: str = Field(description="Parquet file, folder or glob; local or a URI")
    model: str = Field(description="name of a dedicated model, e.g. Qwen/Qwen2.5-7B-Instruct")
    output: str = Field(description="folder for the answers: new, empty, or of this same job")
    prompt: PromptSpec = PromptSpec()
    sampling: Sampling = Sampling()
    rental: Rental = Rental()
    limits: Limits = Limits()
    rows: Rows = Rows()
    runner: Runner = Field(default="local", description="where shards run")

    def identity(self) -> dict[str, Any]:
        """Return what decides the answers: a change in it makes another job.

        Hardware, limits and runners are left out: resuming on other hardware is the same job.
        """
        return {
            "model": self.model,
            **{f"prompt.{key}": value for key, value in self.prompt.model_dump().items()},
            **{
                f"sampling.{key}": list(value) if isinstance(value, tuple) else value
                for key, value in self.sampling.model_dump().items()
            },
            "limit": self.rows.limit,
        }


def fingerprint(identity: dict[str, Any], input_fingerprint: str, provider: str) -> str:
    """Return the SHA-256 (hex) that ties outputs to a request, an input and a provider."""
    canonical = json.dumps([identity, input_fingerprint, provider], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
