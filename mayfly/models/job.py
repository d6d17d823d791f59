"""The job: everything a person may ask for, as one value checked where it enters.

The same model is the CLI's options, the flow's parameters and the form in the Prefect UI, so a
field's description is what a person reads in all three.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from mayfly.models.durations import PATTERN, read_span
from mayfly.models.endpoint import Api, Replicas
from mayfly.models.errors import BadRequest

Teardown = Literal["delete", "stop", "keep"]
Runner = Literal["local", "processes", "dask", "ray"]


def _as_seconds(given: object) -> object:
    return read_span(given) if isinstance(given, str) else given


Seconds = Annotated[
    float,
    Field(gt=0),
    BeforeValidator(_as_seconds),
    # A form asks for text; whoever calls with a number of seconds is understood as well.
    WithJsonSchema({"type": "string", "pattern": PATTERN}),
]


def _as_schema_text(given: object) -> object:
    text = json.dumps(given, ensure_ascii=False) if isinstance(given, dict) else given
    if isinstance(text, str):
        try:
            value = json.loads(text)
        except ValueError as error:
            raise ValueError(f"not JSON: {error}") from error
        if not isinstance(value, dict):
            raise ValueError("a JSON Schema is an object")  # noqa: TRY004 - pydantic reads these
    return text


# As text, because Prefect takes every object with a `$ref` among a flow's parameters for one of
# its blocks, and fails to find it.
SchemaText = Annotated[str, BeforeValidator(_as_schema_text)]


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the schema that forms are drawn from: what may be left out is just not required.

        An option that is unset is null in Python, which a form would offer as a type of its own.
        """
        schema = handler.resolve_ref_schema(handler(core_schema))
        for field in schema.get("properties", {}).values():
            kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
            if len(kinds) == 1:
                del field["anyOf"]
                field.update(kinds[0] | field)
            if field.get("default", ...) is None:
                del field["default"]
        return schema


G = TypeVar("G", bound=_Group)


def group(kind: type[G]) -> G:
    """Return the default of a flow's parameter: a group with nothing set.

    The schema says `{}`, so that a form sends only what a person has filled in. Spelled out, the
    default would hold nulls and numbers of seconds, which the form's own fields refuse.
    """
    default: G = Field(default=kind(), json_schema_extra={"default": {}})
    return default


class PromptSpec(_Group):
    """How a row becomes a request; unset, by a `messages` column, else by a `prompt` column."""

    template: str | None = Field(
        default=None,
        title="Prompt template",
        description="Jinja2 template over the row's columns, e.g. {{ question }}",
    )
    messages_column: str | None = Field(
        default=None,
        title="Messages column",
        description="column that holds a list of role/content, or its JSON; instead of a template",
    )
    system: str | None = Field(
        default=None, title="System message", description="put before every row"
    )
    completions: bool = Field(
        default=False,
        title="Plain text completions",
        description="send the prompt as plain text to /completions, not as a chat",
    )
    embed_column: str | None = Field(
        default=None,
        title="Embed column",
        description="embed the texts of this column instead of asking anything",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.template is not None and self.messages_column is not None:
            raise ValueError("give a prompt template or a messages column, not both")
        return self

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        chat_only = {"system": self.system, "messages_column": self.messages_column}
        if self.embed_column is not None:
            others: dict[str, object] = {"template": self.template, **chat_only}
            others["completions"] = self.completions or None
            kind = "embed_column asks for embeddings"
        elif self.completions:
            others, kind = dict(chat_only), "completions sends plain text"
        else:
            return self
        if given := [name for name, value in others.items() if value is not None]:
            raise ValueError(f"{kind}, which has no {given[0]}; leave one of the two out")
        return self


class Sampling(_Group):
    """Sampling settings, the same for every row; what is unset is left to the endpoint."""

    max_tokens: int | None = Field(
        default=None,
        ge=1,
        title="Longest answer (tokens)",
        description="answers are cut there; 1 or more",
    )
    temperature: float | None = Field(
        default=None, ge=0, le=2, title="Temperature (0 to 2)", description="0 is greedy"
    )
    top_p: float | None = Field(
        default=None,
        gt=0,
        le=1,
        title="Top p (above 0, to 1)",
        description="nucleus sampling: the share of probability that is drawn from",
    )
    seed: int | None = Field(
        default=None, title="Seed", description="for answers that can be had again"
    )
    stop: tuple[str, ...] = Field(
        default=(), title="Stop texts", description="texts that end an answer"
    )
    json_schema: SchemaText | None = Field(
        default=None, title="JSON Schema", description="JSON Schema that every answer must fit"
    )

    def schema_value(self) -> dict[str, Any] | None:
        """Return the JSON Schema, parsed."""
        return None if self.json_schema is None else dict(json.loads(self.json_schema))


class Rental(_Group):
    """Which endpoint to rent, and what becomes of it."""

    hardware: str = Field(
        default="auto",
        title="Hardware",
        description="auto (the cheapest with room), or an id that `mayfly hardware` shows",
    )
    replicas: str = Field(
        default="auto",
        pattern=r"^(auto|\d+(-\d+)?)$",
        title="Replicas (auto, N or MIN-MAX)",
        description="auto is one, or as many as a deadline takes; each replica is billed",
    )
    regions: tuple[str, ...] = Field(
        default=(), title="Regions", description="allowed regions; none means any"
    )
    api: Api = Field(
        default="v2", title="API generation", description="generation of the endpoint API"
    )
    endpoint: str | None = Field(
        default=None,
        title="Existing endpoint",
        description="name of an endpoint that stands already; it is never deleted",
    )
    teardown: Teardown = Field(
        default="delete",
        title="At the end",
        description="what becomes of the endpoint when the batch is done; keep goes on billing",
    )
    ready_timeout_s: Seconds = Field(
        default=2700.0,
        title="Longest wait for READY (45m, 2h)",
        description="then the run gives up",
        json_schema_extra={"default": "45m"},
    )
    capacity_timeout_s: Seconds = Field(
        default=300.0,
        title="Longest wait for capacity (5m, 1h)",
        description="then other hardware is tried",
        json_schema_extra={"default": "5m"},
    )
    inactive_timeout_min: int = Field(
        default=30,
        ge=30,
        le=1440,
        title="Inactivity timeout (minutes, 30 to 1440)",
        description="minutes without a request after which the platform stops the endpoint by "
        "itself: the last line of defence",
    )
    speculative_decoding: bool = Field(
        default=True,
        title="Speculative decoding (v1)",
        description="v1 only: let a small model draft what the large one says",
    )
    availability_zone: str | None = Field(
        default=None,
        title="Availability zone (v1)",
        description="v1 only: zone in which to place the endpoint",
    )
    calibrate_rows: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        title="Calibrate (rows)",
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

    max_cost_usd: float | None = Field(
        default=None,
        gt=0,
        title="Most to spend (USD)",
        description="the run stops before this is spent, and can be resumed",
    )
    deadline_s: Seconds | None = Field(
        default=None,
        title="Deadline (90m, 2h, 1h30m)",
        description="the run stops this long after its start, and can be resumed",
    )
    approve_above_usd: float | None = Field(
        default=None,
        ge=0,
        title="Ask above (USD)",
        description="a run that may cost more waits for your approval before anything is rented; "
        "0 asks always, unset never",
    )
    approve_within_s: Seconds = Field(
        default=86_400.0,
        title="Longest wait for approval (30m, 1d)",
        description="then the run ends, and nothing was rented",
        json_schema_extra={"default": "1d"},
    )
    concurrency: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None,
        title="Requests in flight (1 to 100,000)",
        description="unset finds the best number by itself",
    )
    shard_rows: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        title="Rows per shard",
        description="the unit of progress; unset makes a few dozen shards at most",
    )
    row_attempts: int = Field(
        default=6,
        ge=1,
        le=100,
        title="Attempts per row (1 to 100)",
        description="requests sent for one row before it is given up with an error",
    )


class Rows(_Group):
    """Which rows of the input are sent."""

    limit: Annotated[int, Field(ge=1)] | None = Field(
        default=None, title="Only the first (rows)", description="unset sends all"
    )
    retry_failed: bool = Field(
        default=False,
        title="Retry failed",
        description="just the rows of an earlier run that have an error",
    )
    dedupe: bool = Field(
        default=False, title="Deduplicate", description="send identical requests once"
    )
    incremental: bool = Field(
        default=False,
        title="Incremental",
        description="just the rows that earlier runs into this output did not see",
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
    runner: Runner = Field(default="local", description="in one process, or one for each core")

    @model_validator(mode="after")
    def _options_go_together(self) -> Self:
        sampling = self.sampling
        if self.prompt.embed_column is not None:
            given = [
                name for name, value in sampling.model_dump().items() if value not in (None, ())
            ]
            if given:
                raise ValueError(
                    f"embed_column asks for embeddings, which have no {given[0]}; "
                    "leave one of the two out"
                )
        elif self.rows.dedupe and sampling.temperature != 0 and sampling.seed is None:
            raise ValueError(
                "dedupe gives identical requests one answer, which they have only when answers "
                "do not vary; set temperature to 0, or a seed"
            )
        if self.rows.incremental and self.rows.limit is not None:
            raise ValueError(
                "incremental takes all that is new, and limit the first rows; "
                "leave one of the two out"
            )
        return self

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


def check_runner(runner: Runner) -> None:
    """Refuse a runner that shards cannot run on.

    Raises:
        BadRequest: Names those that there are.
    """
    if runner not in ("local", "processes"):
        raise BadRequest(
            f"--runner {runner} is not built yet; give local or processes, which uses all cores of "
            "this machine"
        )
