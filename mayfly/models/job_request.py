"""The settings of a job that make a row's request: the prompt and the sampling."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from mayfly.models.job_fields import JobPart, option, wrong
from mayfly.models.job_types import BodyText, SchemaText, Texts, ToolsText

Reasoning = Literal["on", "off", "low", "medium", "high"]

_IMAGES = "a URL, a data URL, bytes, a path, or a Hugging Face {bytes, path} struct"


class PromptSpec(JobPart):
    """The prompt of a row's request; by default a `messages` column, else a `prompt` column."""

    template: Annotated[str | None, option("--prompt", "TEMPLATE")] = Field(
        default=None,
        min_length=1,
        title="Prompt template",
        description="Jinja2 template over the row's columns, such as '{{ question }}'; "
        "row['any name'] reads any column. Without it a `messages` column is used, else a "
        "`prompt` column.",
    )
    messages_column: Annotated[str | None, option("--messages-column", "COL")] = Field(
        default=None,
        min_length=1,
        title="Messages column",
        description="Column that holds a list of role/content messages, or its JSON.",
    )
    system: Annotated[str | None, option("--system", "TEXT")] = Field(
        default=None, title="System message", description="System message put before every row."
    )
    image_columns: Annotated[Texts, option("--image", "COL", repeated=True)] = Field(
        default=(), title="Image columns", description=f"Column with an image: {_IMAGES}."
    )
    audio_columns: Annotated[Texts, option("--audio", "COL", repeated=True)] = Field(
        default=(), title="Audio columns", description="Column with sound, given like an image."
    )
    video_columns: Annotated[Texts, option("--video", "COL", repeated=True)] = Field(
        default=(), title="Video columns", description="Column with a video, given like an image."
    )
    tools: Annotated[ToolsText, option("--tools", "FILE")] = Field(
        default=None,
        title="Tools (JSON)",
        description="Tools that the model may call: a JSON list in OpenAI's format.",
    )
    completions: Annotated[bool, option("--completions")] = Field(
        default=False,
        title="Plain text completions",
        description="Send the prompt as plain text to /completions, not as a chat.",
    )
    embed_column: Annotated[str | None, option("--embed", "COL")] = Field(
        default=None,
        min_length=1,
        title="Embed column",
        description="Compute embeddings for this column of texts.",
    )

    @property
    def media_columns(self) -> tuple[str, ...]:
        """The columns with images, sound and videos for the prompt."""
        return self.image_columns + self.audio_columns + self.video_columns

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.template is not None and self.messages_column is not None:
            raise wrong("give {template} or {messages_column}, not both")
        return self

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        others = ["system", "messages_column", "tools"]
        others += ["image_columns", "audio_columns", "video_columns"]
        if self.embed_column is not None:
            kind, others = "embed_column", ["template", "completions", *others]
        elif self.completions:
            kind = "completions"
        else:
            return self
        if given := [name for name in others if getattr(self, name) not in (None, (), False)]:
            raise wrong(f"{{{kind}}} cannot be combined with {{{given[0]}}}; leave one of them out")
        return self


class Sampling(JobPart):
    """Sampling settings, the same for every row; unset ones are left to the endpoint."""

    max_tokens: Annotated[int | None, option("--max-tokens", "N")] = Field(
        default=None,
        ge=1,
        le=2**31 - 1,
        title="Max tokens",
        description="Maximum tokens per response.",
    )
    temperature: Annotated[float | None, option("--temperature", "X")] = Field(
        default=None,
        ge=0,
        le=2,
        title="Temperature (0 to 2)",
        description="Sampling temperature, 0 to 2; 0 is greedy.",
    )
    top_p: Annotated[float | None, option("--top-p", "X")] = Field(
        default=None,
        gt=0,
        le=1,
        title="Top p (above 0, to 1)",
        description="Nucleus sampling: the share of probability to draw from, above 0, to 1.",
    )
    seed: Annotated[int | None, option("--seed", "N")] = Field(
        default=None,
        ge=-(2**63),
        le=2**63 - 1,
        title="Seed",
        description="Seed for reproducible sampling.",
    )
    stop: Annotated[Texts, option("--stop", "TEXT", repeated=True)] = Field(
        default=(), title="Stop texts", description="Text that ends a response."
    )
    reasoning: Annotated[Reasoning | None, option("--reasoning", "on|off|low|medium|high")] = Field(
        default=None,
        title="Reasoning",
        description="Whether the model thinks before it answers, or how much; unset leaves it to "
        "the model.",
    )
    json_schema: Annotated[SchemaText, option("--schema", "FILE")] = Field(
        default=None,
        title="JSON Schema",
        description="JSON Schema that every response must match, bare or in OpenAI's wrapper; "
        "adds a `parsed` column.",
    )
    samples: Annotated[int | None, option("--samples", "N")] = Field(
        default=None,
        ge=1,
        le=128,
        title="Samples per row (1 to 128)",
        description="Responses per row, 1 to 128; adds a `responses` column.",
    )
    logprobs: Annotated[int | None, option("--logprobs", "K")] = Field(
        default=None,
        ge=0,
        le=20,
        title="Log probabilities (0 to 20)",
        description="Log probabilities of the K likeliest tokens at each position, 0 to 20; adds a "
        "`logprobs` column.",
    )
    body: Annotated[BodyText, option("--body", "JSON|@FILE")] = Field(
        default=None,
        title="Further request fields (JSON)",
        description="JSON object of further fields of every request; it wins over options.",
    )
    body_column: Annotated[str | None, option("--body-column", "COL")] = Field(
        default=None,
        min_length=1,
        title="Request fields column",
        description="Column with further request fields for each row, a struct or JSON; it wins "
        "over the options and over the fields for every request.",
    )

    def schema_value(self) -> dict[str, Any] | None:
        """Return the JSON Schema, parsed."""
        return None if self.json_schema is None else dict(json.loads(self.json_schema))

    def body_value(self) -> dict[str, Any]:
        """Return the further fields of every request, parsed; empty when there are none."""
        return {} if self.body is None else dict(json.loads(self.body))
