"""Parse and validate the body of a chat completion.

Source: Together API, POST /v1/chat/completions.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from together_emulator.http.errors import ApiError, bad_request
from together_emulator.http.fields import choice, integer, mapping, number, only, text, wrong
from together_emulator.inference.messages import read_messages

SAMPLING = (
    "model",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "stop",
    "n",
    "seed",
    "logprobs",
    "echo",
    "stream",
    "stream_options",
    "safety_model",
    "user",
    "prompt_cache_key",
)
_CHAT = frozenset(
    {
        *SAMPLING,
        "messages",
        "tools",
        "tool_choice",
        "function_call",
        "response_format",
        "reasoning",
        "reasoning_effort",
        "context_length_exceeded_behavior",
        "chat_template_kwargs",
        "compliance",
    }
)
_OFF = ("enable_thinking", "thinking")
"""Template arguments by which several model families disable thinking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Fields common to completions and chat completions.

    Attributes:
        stop: Texts that end the answer, without being part of it.
        logprobs: Alternatives per token, or None.
        sticky: Routing key: cache key, user, or nothing.
    """

    model: str
    max_tokens: int | None
    temperature: float
    seed: int | None
    n: int
    stop: tuple[str, ...]
    logprobs: int | None
    echo: bool
    stream: bool
    sticky: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A request for a chat completion.

    Attributes:
        prompt: All messages as one text.
        media: Kinds of content besides text.
        schema: Schema of a structured answer; `True` for any JSON object.
        structured: Whether the answer must be JSON.
        pattern: A regular expression that the answer must match.
        tools: The functions offered, by name, with their parameters' schema.
        forced_tool: The function that must be called; "" for any.
        reasoning: Whether to think before answering; None for the model's default.
        effort: Reasoning effort: low, medium or high.
        truncate: Whether a `max_tokens` beyond the context is reduced instead of rejected.
    """

    sampling: Sampling
    prompt: str
    prompt_tokens: int
    media: frozenset[str]
    messages: list[dict[str, Any]]
    schema: Any
    structured: bool
    pattern: str | None
    tools: dict[str, Any]
    forced_tool: str | None
    reasoning: bool | None
    effort: str | None
    truncate: bool


def required_text(body: Mapping[str, Any], name: str) -> str:
    """Read a required string (400)."""
    value = text(body, name)
    if value is None:
        raise missing(name)
    return value


def missing(name: str) -> ApiError:
    """Return the 400 for a missing required field."""
    return bad_request(f"{name} is required", param=name, code="missing_required_parameter")


def read_sampling(body: Mapping[str, Any]) -> Sampling:
    """Read the fields of `SAMPLING` (400)."""
    temperature = number(body, "temperature", least=0, most=2)
    number(body, "top_p", least=0, most=1)
    number(body, "min_p", least=0, most=1)
    integer(body, "top_k", least=-1)
    number(body, "repetition_penalty", least=0, most=10)
    number(body, "frequency_penalty", least=-2, most=2)
    number(body, "presence_penalty", least=-2, most=2)
    mapping(body, "logit_bias")
    mapping(body, "stream_options")
    stop = body.get("stop")
    if stop is None:
        stop = []
    if not isinstance(stop, list) or not all(isinstance(word, str) and word for word in stop):
        raise wrong("stop", "a list of non-empty strings", stop)
    return Sampling(
        model=required_text(body, "model"),
        max_tokens=integer(body, "max_tokens", least=1),
        temperature=0.7 if temperature is None else temperature,
        seed=integer(body, "seed", least=-(2**63), most=2**64),
        n=integer(body, "n", least=1, most=128) or 1,
        stop=tuple(stop),
        logprobs=integer(body, "logprobs", least=0, most=20),
        echo=boolean(body, "echo"),
        stream=boolean(body, "stream"),
        sticky=text(body, "prompt_cache_key") or text(body, "user"),
    )


def boolean(body: Mapping[str, Any], name: str) -> bool:
    """Read a boolean; missing is false (400)."""
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise wrong(name, "a boolean", value)
    return value


def read_chat(body: Mapping[str, Any], *, strict: bool = False) -> Chat:
    """Read a chat completion's body (400).

    Args:
        strict: Whether an unknown field is rejected instead of ignored.
    """
    if strict:
        only(body, _CHAT, "field")
    sampling = read_sampling(body)
    if body.get("messages") is None:
        raise missing("messages")
    prompt = read_messages(body["messages"])
    schema, structured, pattern = _read_format(body)
    tools = {} if body.get("tool_choice") == "none" else _read_tools(body)
    choice(body, "compliance", ("hipaa",))
    overflow = choice(body, "context_length_exceeded_behavior", ("error", "truncate"))
    return Chat(
        sampling=sampling,
        prompt=prompt.text,
        prompt_tokens=prompt.tokens,
        media=prompt.media,
        messages=body["messages"],
        schema=schema,
        structured=structured,
        pattern=pattern,
        tools=tools,
        forced_tool=_forced(body, tools),
        reasoning=_read_reasoning(body),
        effort=choice(body, "reasoning_effort", ("low", "medium", "high")),
        truncate=overflow == "truncate",
    )


def _read_reasoning(body: Mapping[str, Any]) -> bool | None:
    """Read `reasoning.enabled`, or the template's own switch if it is not given."""
    reasoning = mapping(body, "reasoning")
    if reasoning is not None:
        only(reasoning, ("enabled",), "reasoning field")
        if "enabled" in reasoning:
            return boolean(reasoning, "enabled")
    template = mapping(body, "chat_template_kwargs") or {}
    for name in _OFF:
        if name in template:
            return boolean(template, name)
    return None


def _read_format(body: Mapping[str, Any]) -> tuple[Any, bool, str | None]:
    """Return the answer's schema, whether it is JSON, and the pattern that it must match."""
    given = mapping(body, "response_format")
    if given is None:
        return None, False, None
    kind = choice(given, "type", ("text", "json_object", "json_schema", "regex"))
    if kind is None:
        raise bad_request("response_format.type is required", param="response_format")
    if kind == "text":
        only(given, ("type",), "response_format field")
        return None, False, None
    if kind == "json_object":
        only(given, ("type", "schema"), "response_format field")
        return given.get("schema") or True, True, None
    if kind == "regex":
        only(given, ("type", "pattern"), "response_format field")
        return None, False, _read_pattern(given)
    only(given, ("type", "json_schema"), "response_format field")
    wrapped = mapping(given, "json_schema")
    if wrapped is None:
        raise bad_request("response_format.json_schema is required", param="response_format")
    only(wrapped, ("name", "description", "schema", "strict"), "json_schema field")
    name = required_text(wrapped, "name")
    if len(name) > 64 or not name.replace("-", "").replace("_", "").isalnum():
        raise wrong("name", "up to 64 letters, digits, '_' or '-'", name)
    schema = mapping(wrapped, "schema")
    return (True if schema is None else schema), True, None


def _read_pattern(given: Mapping[str, Any]) -> str:
    pattern = required_text(given, "pattern")
    try:
        re.compile(pattern)
    except re.error as error:
        raise bad_request(
            f"response_format.pattern is no regular expression: {error}", param="response_format"
        ) from None
    return pattern


def _read_tools(body: Mapping[str, Any]) -> dict[str, Any]:
    given = body.get("tools")
    if given is None:
        return {}
    if not isinstance(given, list):
        raise wrong("tools", "a list", given)
    tools: dict[str, Any] = {}
    for tool in given:
        if not isinstance(tool, dict) or tool.get("type") != "function":
            raise wrong("tools", "a list of tools of type function", tool)
        only(tool, ("type", "function"), "tool field")
        function = mapping(tool, "function") or {}
        only(function, ("name", "description", "parameters", "strict"), "function field")
        tools[required_text(function, "name")] = mapping(function, "parameters") or {
            "type": "object"
        }
    return tools


def _forced(body: Mapping[str, Any], tools: Mapping[str, Any]) -> str | None:
    given = body.get("tool_choice")
    if given in (None, "auto", "none"):
        return None
    if given == "required":
        if not tools:
            raise bad_request("tool_choice required needs tools", param="tool_choice")
        return ""
    name = None
    if isinstance(given, dict):
        name = (mapping(given, "function") or {}).get("name")
    elif isinstance(given, str):
        name = given
    if name not in tools:
        raise bad_request(
            f"tool_choice names no tool that is offered: {name!r}", param="tool_choice"
        )
    return str(name)
