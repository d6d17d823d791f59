"""The options of `mayfly.run` and `mayfly.plan`, for editors and type checkers.

They match the command line's options, which `docs/reference/options.md` describes; a test compares
the two.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypedDict

Duration = float | str
"""Seconds, or text such as `90m`, `2h`, `1h30m`."""

JsonFile = Mapping[str, Any] | Sequence[Any] | str | PathLike[str]
"""A value, or the path of a JSON file that holds it."""


class Options(TypedDict, total=False):
    """Keyword options besides the data, the model, the prompt and the output."""

    # Prompt
    messages_column: str
    system: str
    image: str | Sequence[str]
    audio: str | Sequence[str]
    video: str | Sequence[str]
    tools: JsonFile
    completions: bool
    embed: str
    # Sampling
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    stop: str | Sequence[str]
    reasoning: Literal["on", "off", "low", "medium", "high"]
    schema: JsonFile
    samples: int
    logprobs: int
    body: Mapping[str, Any] | str
    body_column: str
    # Hardware
    hardware: str
    config: str
    replicas: int | str
    region: str | Sequence[str]
    endpoint: str
    teardown: Literal["delete", "stop", "keep"]
    inactive_timeout: int
    api: Literal["v2", "v1"]
    no_speculative_decoding: bool
    availability_zone: str
    calibrate: int
    ready_timeout: Duration
    capacity_timeout: Duration
    # Limits
    max_cost: float
    deadline: Duration
    approve_above: float
    approve_within: Duration
    concurrency: int | Literal["auto"]
    row_timeout: Duration
    row_attempts: int
    max_error_rate: float
    shard_rows: int
    # Rows
    limit: int
    retry_failed: bool
    dedupe: bool
    incremental: bool
    # Run
    runner: Literal["local", "processes", "dask"]
    dask: str
    tag: Mapping[str, str] | Sequence[str]
    report_url: str
