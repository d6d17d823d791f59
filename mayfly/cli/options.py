"""The options of `run` and `plan`, and how they become a job."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter
from pydantic import ValidationError

from mayfly.models.durations import read_span
from mayfly.models.errors import BadRequest
from mayfly.models.job import Job
from mayfly.models.job_fields import problem_of

ASK = Group("What to ask", sort_key=1)
SAMPLING = Group("How to answer", sort_key=2)
RENT = Group("What to rent", sort_key=3)
LIMITS = Group("Limits", sort_key=4)
ROWS = Group("Which rows", sort_key=5)
RUN = Group("How to run", sort_key=6)


def flag(group: Group, text: str) -> Parameter:
    """Return the parameter of a switch that has no `--no-` twin."""
    return Parameter(group=group, help=text, negative=())


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """What `run` and `plan` share."""

    model: Annotated[
        str, Parameter(group=ASK, help="Dedicated model, such as Qwen/Qwen2.5-7B-Instruct.")
    ]
    prompt: Annotated[
        str | None,
        Parameter(
            group=ASK,
            help="Jinja2 template over the row's columns: '{{ question }}'. "
            "Without it, a `messages` column is used, else a `prompt` column.",
        ),
    ] = None
    messages_column: Annotated[
        str | None, Parameter(group=ASK, help="Column with a list of role/content, or its JSON.")
    ] = None
    system: Annotated[
        str | None, Parameter(group=ASK, help="System message put before every row.")
    ] = None
    schema: Annotated[
        Path | None,
        Parameter(group=ASK, help="File with the JSON Schema that every answer must fit."),
    ] = None
    embed: Annotated[
        str | None, Parameter(group=ASK, help="Embed this column instead of asking.")
    ] = None
    completions: Annotated[bool, flag(ASK, "Send the prompt as plain text, not as a chat.")] = False

    max_tokens: Annotated[
        int | None, Parameter(group=SAMPLING, help="Most tokens in an answer.")
    ] = None
    temperature: Annotated[float | None, Parameter(group=SAMPLING, help="0 to 2; 0 is greedy.")] = (
        None
    )
    top_p: Annotated[float | None, Parameter(group=SAMPLING, help="0 to 1.")] = None
    seed: Annotated[
        int | None, Parameter(group=SAMPLING, help="For answers that can be had again.")
    ] = None
    stop: Annotated[
        tuple[str, ...],
        Parameter(group=SAMPLING, help="Text that ends an answer; may be repeated.", negative=()),
    ] = ()

    hardware: Annotated[
        str, Parameter(group=RENT, help="auto (the cheapest with room), or an id.")
    ] = "auto"
    replicas: Annotated[
        str,
        Parameter(
            group=RENT,
            help="N, or MIN-MAX to autoscale; auto is one, or as many as --deadline takes.",
        ),
    ] = "auto"
    region: Annotated[
        tuple[str, ...],
        Parameter(group=RENT, help="Allowed region; may be repeated.", negative=()),
    ] = ()
    endpoint: Annotated[
        str | None,
        Parameter(group=RENT, help="Use this endpoint, which stands; it is never deleted."),
    ] = None
    teardown: Annotated[
        Literal["delete", "stop", "keep"],
        Parameter(group=RENT, help="What becomes of the endpoint at the end."),
    ] = "delete"
    inactive_timeout: Annotated[
        int,
        Parameter(
            group=RENT,
            help="Minutes without a request after which the platform stops the endpoint by itself: "
            "the last line of defence; 30 to 1440.",
        ),
    ] = 30
    api: Annotated[
        Literal["v2", "v1"], Parameter(group=RENT, help="Generation of the endpoint API.")
    ] = "v2"
    speculative_decoding: Annotated[
        bool,
        Parameter(group=RENT, help="v1 only: a small model drafts what the large one says."),
    ] = True
    availability_zone: Annotated[
        str | None, Parameter(group=RENT, help="v1 only: zone in which to place the endpoint.")
    ] = None

    max_cost: Annotated[
        float | None, Parameter(group=LIMITS, help="Stop before this many dollars are spent.")
    ] = None
    deadline: Annotated[
        str | None, Parameter(group=LIMITS, help="Stop after this long: 90m, 2h, 1h30m.")
    ] = None
    concurrency: Annotated[
        str, Parameter(group=LIMITS, help="Requests in flight: auto, or a number.")
    ] = "auto"
    shard_rows: Annotated[
        int | None, Parameter(group=LIMITS, help="Rows per shard, the unit of resuming.")
    ] = None

    limit: Annotated[int | None, Parameter(group=ROWS, help="Only the first N rows.")] = None
    retry_failed: Annotated[bool, flag(ROWS, "Run again just the rows that have an error.")] = False
    dedupe: Annotated[bool, flag(ROWS, "Send identical requests once.")] = False
    incremental: Annotated[
        bool, flag(ROWS, "Only rows that earlier runs into the same output did not see.")
    ] = False
    calibrate: Annotated[
        int | None,
        Parameter(group=ROWS, help="Try K rows on each of the best hardware before choosing."),
    ] = None

    runner: Annotated[
        str,
        Parameter(
            group=RUN,
            help="Where shards run: local (one process, which keeps most endpoints full), or "
            "processes (one for each core, sharing the limit: for endpoints that answer thousands "
            "of rows a second, and for slow templates or schemas); dask and ray are not built.",
        ),
    ] = "local"
    local: Annotated[
        bool, flag(RUN, "Use the embedded endpoint: no key, no cost, made-up answers.")
    ] = False

    def job(self, input: str, output: str) -> Job:  # noqa: A002 - the contract's word
        """Return the job that was asked for (BadRequest when it makes no sense)."""
        try:
            return Job.model_validate(
                {
                    "input": input,
                    "model": self.model,
                    "output": output,
                    "prompt": {
                        "template": self.prompt,
                        "messages_column": self.messages_column,
                        "system": self.system,
                        "completions": self.completions,
                        "embed_column": self.embed,
                    },
                    "sampling": {
                        "max_tokens": self.max_tokens,
                        "temperature": self.temperature,
                        "top_p": self.top_p,
                        "seed": self.seed,
                        "stop": self.stop,
                        "json_schema": read_schema(self.schema),
                    },
                    "rental": {
                        "hardware": self.hardware,
                        "replicas": self.replicas,
                        "regions": self.region,
                        "endpoint": self.endpoint,
                        "teardown": self.teardown,
                        "api": self.api,
                        "inactive_timeout_min": self.inactive_timeout,
                        "speculative_decoding": self.speculative_decoding,
                        "availability_zone": self.availability_zone,
                        "calibrate_rows": self.calibrate,
                    },
                    "limits": {
                        "concurrency": concurrency(self.concurrency),
                        "shard_rows": self.shard_rows,
                        "max_cost_usd": self.max_cost,
                        "deadline_s": None if self.deadline is None else duration_s(self.deadline),
                    },
                    "rows": {
                        "limit": self.limit,
                        "retry_failed": self.retry_failed,
                        "dedupe": self.dedupe,
                        "incremental": self.incremental,
                    },
                    "runner": self.runner,
                }
            )
        except ValidationError as error:
            raise BadRequest(problem_of(error, Job.title_of)) from error


def duration_s(text: str) -> float:
    """Read a duration such as `90m`, `1h30m` or `45s`, in seconds; a bare number is refused."""
    try:
        return read_span(text)
    except ValueError as error:
        raise BadRequest(f"--deadline {error}") from error


def concurrency(text: str) -> int | None:
    """Read `auto` (None) or a number of requests in flight."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise BadRequest(f"--concurrency {text}: give auto, or a number from 1")
    return int(text)


def read_schema(path: Path | None) -> dict[str, Any] | None:
    """Read a JSON Schema file (BadRequest when it is not one)."""
    if path is None:
        return None
    try:
        value = json.loads(path.read_text())
    except OSError as error:
        raise BadRequest(f"--schema {path}: {error.strerror}; give a JSON file") from error
    except ValueError as error:
        raise BadRequest(f"--schema {path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadRequest(
            f"--schema {path}: a JSON Schema is an object; this is a {type(value).__name__}"
        )
    return value
