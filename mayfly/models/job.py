"""The job: all settings of a run, as one value that is validated when it is created.

The command line's options, the form in the Prefect UI, the Python API and the reference page are
generated from these fields: titles, descriptions, defaults and bounds are written here only.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from mayfly.models.endpoint import Api, Replicas
from mayfly.models.job_fields import JobPart, option, wrong
from mayfly.models.job_request import PromptSpec, Sampling
from mayfly.models.job_types import AUTO, Seconds, Tags, Texts

__all__ = [
    "Job",
    "Limits",
    "PromptSpec",
    "Rental",
    "Rows",
    "Runner",
    "Sampling",
    "Teardown",
    "fingerprint",
]

Teardown = Literal["delete", "stop", "keep"]
Runner = Literal["local", "processes", "dask"]

MAX_ROWS = 10**12
"""Upper bound of settings in rows, so that 64 bits hold them everywhere."""


class Rental(JobPart):
    """Which endpoint to rent, and what to do with it at the end."""

    hardware: Annotated[str, option("--hardware", "auto|ID")] = Field(
        default="auto",
        min_length=1,
        title="Hardware",
        description="auto (the cheapest with free capacity), or an id that `mayfly hardware` "
        "shows.",
    )
    config: Annotated[str | None, option("--config", "ID")] = Field(
        default=None,
        min_length=1,
        title="Config",
        description="Config to deploy (cr_...) where the model has several; unset takes the "
        "cheapest with free capacity.",
    )
    replicas: Annotated[str, option("--replicas", "auto|N|MIN-MAX")] = Field(
        default="auto",
        pattern=r"^(auto|[0-9]{1,6}(-[0-9]{1,6})?)$",
        title="Replicas (auto, N or MIN-MAX)",
        description="Number of replicas, or a range to autoscale in; auto is one, or as many as "
        "the deadline needs. Each replica is billed.",
    )
    regions: Annotated[Texts, option("--region", "NAME", repeated=True)] = Field(
        default=(), title="Regions", description="Allowed region; any region by default."
    )
    endpoint: Annotated[str | None, option("--endpoint", "NAME")] = Field(
        default=None,
        min_length=1,
        title="Existing endpoint",
        description="Use an existing endpoint; it is never deleted.",
    )
    teardown: Annotated[Teardown, option("--teardown", "delete|stop|keep")] = Field(
        default="delete",
        title="Teardown",
        description="What to do with the endpoint when the run ends; keep continues to bill.",
    )
    inactive_timeout_min: Annotated[int, option("--inactive-timeout", "MIN")] = Field(
        default=30,
        ge=30,
        le=1440,
        title="Inactivity timeout (minutes, 30 to 1440)",
        description="Minutes without a request after which the platform stops the endpoint, even "
        "if mayfly itself has failed; 30 to 1440.",
    )
    ready_timeout_s: Annotated[Seconds, option("--ready-timeout", "DURATION", group="Limits")] = (
        Field(
            default=2700.0,
            title="READY timeout (45m, 2h)",
            description="Maximum wait until the endpoint is READY; then the run fails.",
            json_schema_extra={"default": "45m"},
        )
    )
    capacity_timeout_s: Annotated[
        Seconds, option("--capacity-timeout", "DURATION", group="Limits")
    ] = Field(
        default=300.0,
        title="Capacity timeout (5m, 1h)",
        description="Maximum wait for free capacity; then other hardware is tried.",
        json_schema_extra={"default": "5m"},
    )
    api: Annotated[Api, option("--api", "v2|v1")] = Field(
        default="v2", title="API generation", description="Generation of the endpoint API."
    )
    speculative_decoding: Annotated[
        bool, option("--no-speculative-decoding", switches_off=True)
    ] = Field(
        default=True,
        title="Speculative decoding (v1)",
        description="Speculative decoding, in which a small model drafts tokens that the large one "
        "checks; only v1 can switch it off.",
    )
    availability_zone: Annotated[str | None, option("--availability-zone", "NAME")] = Field(
        default=None,
        min_length=1,
        title="Availability zone (v1)",
        description="Zone to create the endpoint in; v1 only.",
    )
    calibrate_rows: Annotated[int | None, option("--calibrate", "K")] = Field(
        default=None,
        ge=1,
        le=MAX_ROWS,
        title="Calibrate (rows)",
        description="Try this many rows on each of the best hardware, then choose by measured "
        "cost.",
    )

    @model_validator(mode="after")
    def _bounds_make_sense(self) -> Self:
        low, _, high = self.replicas.partition("-")
        if self.fixes_replicas and not 1 <= int(low) <= int(high or low):
            raise wrong(f"{{replicas}} must be N or MIN-MAX from 1 up, not {self.replicas!r}")
        return self

    @model_validator(mode="after")
    def _switches_are_of_this_generation(self) -> Self:
        if self.api == "v2" and self.availability_zone is not None:
            raise wrong("{availability_zone} is for {api} v1 only; give {regions} instead")
        if self.api == "v2" and not self.speculative_decoding:
            raise wrong("{speculative_decoding} is for {api} v1 only: v2 has no such setting")
        return self

    @property
    def placement(self) -> tuple[str, ...]:
        """The regions allowed for the endpoint, or v1's zone; empty means any."""
        return self.regions or (() if self.availability_zone is None else (self.availability_zone,))

    @property
    def fixes_replicas(self) -> bool:
        """Whether the user has fixed the number of replicas, or its bounds."""
        return self.replicas != "auto"

    def bounds(self) -> Replicas:
        """Return the bounds on replicas; one replica unless the user has set a number."""
        if not self.fixes_replicas:
            return Replicas()
        low, _, high = self.replicas.partition("-")
        return Replicas(minimum=int(low), maximum=int(high or low))


class Limits(JobPart):
    """Limits on what the run may use."""

    max_cost_usd: Annotated[float | None, option("--max-cost", "USD")] = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        title="Maximum cost (USD)",
        description="Stop before this many dollars are spent; the run can be resumed.",
    )
    deadline_s: Annotated[Seconds | None, option("--deadline", "DURATION")] = Field(
        default=None,
        title="Deadline (90m, 2h, 1h30m)",
        description="Stop this long after the start, such as 90m or 1h30m; the run can be resumed.",
    )
    approve_above_usd: Annotated[float | None, option("--approve-above", "USD")] = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        title="Require approval above (USD)",
        description="A run that may cost more than this waits in the Prefect UI for approval "
        "before anything is rented; 0 always waits.",
    )
    approve_within_s: Annotated[Seconds, option("--approve-within", "DURATION")] = Field(
        default=86_400.0,
        title="Approval timeout (30m, 1d)",
        description="Maximum wait for approval; then the run ends, and nothing was rented.",
        json_schema_extra={"default": "1d"},
    )
    concurrency: Annotated[int | None, AUTO, option("--concurrency", "auto|N")] = Field(
        default=None,
        ge=1,
        le=100_000,
        title="Requests in flight (1 to 100,000)",
        description="Maximum requests in flight, up to 100,000; auto finds the best number.",
    )
    row_timeout_s: Annotated[Seconds | None, AUTO, option("--row-timeout", "auto|DURATION")] = (
        Field(
            default=None,
            title="Row timeout (90s, 10m)",
            description="Maximum time for one request, such as 10m; auto adapts to the run's own "
            "latency.",
        )
    )
    row_attempts: Annotated[int, option("--row-attempts", "N")] = Field(
        default=6,
        ge=1,
        le=100,
        title="Attempts per row (1 to 100)",
        description="Attempts per row before it ends with an error, 1 to 100; refused load (429, "
        "503) costs none, and ends a row after 2 minutes if other rows are answered, else 10.",
    )
    max_error_rate: Annotated[float | None, option("--max-error-rate", "PERCENT")] = Field(
        default=None,
        ge=0,
        le=100,
        title="Maximum error rate (percent)",
        description="Stop when more of the rows fail, in percent; 100 never stops. By default 50, "
        "once 100 rows or 1 % of them are back.",
    )
    shard_rows: Annotated[int | None, option("--shard-rows", "N")] = Field(
        default=None,
        ge=1,
        le=MAX_ROWS,
        title="Rows per shard",
        description="Rows per shard, one task and one part file; by default up to 16,384.",
    )


class Rows(JobPart):
    """Which rows of the input are sent."""

    limit: Annotated[int | None, option("--limit", "N")] = Field(
        default=None, ge=1, le=MAX_ROWS, title="Row limit", description="Only the first N rows."
    )
    retry_failed: Annotated[bool, option("--retry-failed")] = Field(
        default=False,
        title="Retry failed",
        description="Run again the rows of an earlier run that have an error.",
    )
    dedupe: Annotated[bool, option("--dedupe")] = Field(
        default=False, title="Deduplicate", description="Send identical requests once."
    )
    incremental: Annotated[bool, option("--incremental")] = Field(
        default=False,
        title="Incremental",
        description="Only rows that earlier runs into the same output did not have.",
    )


class Job(JobPart):
    """One batch: a dataset, a model, a folder for the answers."""

    input: str = Field(
        min_length=1,
        title="Input",
        description="Dataset of one row per request: Parquet, JSON lines, CSV or Arrow; a file, a "
        "folder or a glob, local or a URI.",
    )
    model: Annotated[str, option("--model", "MODEL", group="Prompt")] = Field(
        min_length=1,
        title="Model",
        description="Model to deploy, such as Qwen/Qwen2.5-7B-Instruct, or one of your own by id "
        "or name; `mayfly models` lists them.",
    )
    output: Annotated[str, option("--output", "DIR", group="Run")] = Field(
        min_length=1,
        title="Output",
        description="Folder for the results, local or on an object store: new, empty, or of an "
        "earlier run of the same job, which is then resumed.",
    )
    prompt: PromptSpec = Field(default=PromptSpec(), title="Prompt")
    sampling: Sampling = Field(default=Sampling(), title="Sampling")
    rental: Rental = Field(default=Rental(), title="Hardware")
    limits: Limits = Field(default=Limits(), title="Limits")
    rows: Rows = Field(default=Rows(), title="Rows")
    runner: Annotated[Runner, option("--runner", "local|processes|dask", group="Run")] = Field(
        default="local",
        title="Runner",
        description="Where shards run: local is one process, enough for most endpoints; processes "
        "is one for each core, for thousands of rows a second; dask is the workers of a cluster.",
    )
    dask: Annotated[str | None, option("--dask", "ADDRESS", group="Run")] = Field(
        default=None,
        min_length=1,
        title="Dask scheduler",
        description="Address of the Dask scheduler, such as tcp://host:8786.",
    )
    tags: Annotated[Tags, option("--tag", "KEY=VALUE", repeated=True, group="Run")] = Field(
        default={},
        title="Tags (KEY=VALUE)",
        description="Tag for history, reports and metrics.",
        # The form shows a list of texts.
        json_schema_extra={"default": []},
    )

    report_url: Annotated[str | None, option("--report-url", "URL", group="Run")] = Field(
        default=None,
        pattern=r"^https?://",
        title="Report URL",
        description="URL of the output folder for a browser; Prefect then links to the report "
        "there.",
    )

    @model_validator(mode="after")
    def _names_are_names(self) -> Self:
        if "\0" in self.output:
            raise wrong("{output} has a zero byte, which no file system takes")
        if "\0" in self.input:
            raise wrong("the input's name has a zero byte, which no file system takes")
        return self

    @model_validator(mode="after")
    def _options_go_together(self) -> Self:
        sampling = self.sampling
        if self.prompt.embed_column is not None:
            given = [
                name
                for name, value in sampling
                if value not in (None, ()) and name not in ("body", "body_column")
            ]
            if given:
                raise wrong(
                    f"{{prompt.embed_column}} cannot be combined with {{sampling.{given[0]}}}; "
                    "leave one of them out"
                )
        elif self.rows.dedupe and not self._repeatable:
            raise wrong(
                "{rows.dedupe} gives identical requests one response, so responses must not vary; "
                "set {sampling.temperature} to 0, or give {sampling.seed}"
            )
        if self.prompt.completions and sampling.reasoning is not None:
            raise wrong(
                "{prompt.completions} cannot be combined with {sampling.reasoning}; "
                "leave one of them out"
            )
        if self.rows.incremental and self.rows.limit is not None:
            raise wrong(
                "{rows.incremental} cannot be combined with {rows.limit}; leave one of them out"
            )
        if self.dask is not None and self.runner != "dask":
            raise wrong("{dask} is for {runner} dask only; add {runner} dask")
        if self.dask is None and self.runner == "dask":
            raise wrong("{runner} dask needs the scheduler's address; add {dask} tcp://HOST:8786")
        return self

    @property
    def _repeatable(self) -> bool:
        """Whether identical requests have the same response."""
        body = self.sampling.body_value()
        temperature = body.get("temperature", self.sampling.temperature)
        return temperature == 0 or body.get("seed", self.sampling.seed) is not None

    def identity(self) -> dict[str, Any]:
        """Return the settings that determine the responses: a change in one makes another job.

        Hardware, limits and runners are left out: resuming on other hardware is the same job.
        Settings added after the first release are included only if set, so that the outputs of
        earlier releases still belong to the jobs that wrote them.
        """
        identity = {
            "model": self.model,
            **_named("prompt", self.prompt.model_dump()),
            **_named("sampling", self.sampling.model_dump()),
            "limit": self.rows.limit,
        }
        return {
            name: value
            for name, value in identity.items()
            if name in _ALWAYS or value not in (None, [])
        }


_ALWAYS = {
    "model",
    *(
        f"prompt.{name}"
        for name in ("template", "messages_column", "system", "completions", "embed_column")
    ),
    *(
        f"sampling.{name}"
        for name in ("max_tokens", "temperature", "top_p", "seed", "stop", "json_schema")
    ),
    "limit",
}


def _named(part: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{part}.{name}": list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
    }


def fingerprint(identity: dict[str, Any], input_fingerprint: str, provider: str) -> str:
    """Return the SHA-256 (hex) that ties outputs to a request, an input and a provider."""
    canonical = json.dumps([identity, input_fingerprint, provider], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
