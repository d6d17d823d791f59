"""Reading the body of a chat completion: every field known, of its type and in its range.

Source: Together API, POST /v1/chat/completions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from together_emulator.http.errors import ApiError, bad_request
from together_emulator.http.fields import choice, integer, mapping, number, only, text, wrong

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
_MESSAGE = frozenset(
    {
        "role",
        "content",
        "name",
        "tool_calls",
        "tool_call_id",
        "function_call",
        "reasoning",
        "reasoning_content",
    }
)
_ROLES = ("system", "user", "assistant", "tool", "function")
_PARTS = ("text", "image_url", "video_url", "audio_url", "input_audio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """What completions and chat completions have in common.

    Attributes:
        stop: Texts that end the answer; they are not part of it.
        logprobs: Alternatives per token, or None.
        sticky: What keeps requests on one deployment: cache key, user, or nothing.
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
    """A chat completion that was asked for.

    Attributes:
        prompt: All messages as one text.
        schema: Of a structured answer; `True` stands for any JSON object.
        structured: Whether the answer must be JSON.
        tools: The functions offered, by name, with their parameters' schema.
        forced_tool: The function that must be called; "" for any.
        reasoning: Whether the model may think before it answers, if it can.
        truncate: Whether a longer `max_tokens` than the context has is cut, not refused.
    """

    sampling: Sampling
    prompt: str
    prompt_tokens: int
    messages: list[dict[str, Any]]
    schema: Any
    structured: bool
    tools: dict[str, Any]
    forced_tool: str | None
    reasoning: bool
    truncate: bool


def required_text(body: Mapping[str, Any], name: str) -> str:
    """Read a string that must be there (400)."""
    value = text(body, name)
    if value is None:
        raise missing(name)
    return value


def missing(name: str) -> ApiError:
    """Return the 400 for a field that must be there."""
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


def read_chat(body: Mapping[str, Any]) -> Chat:
    """Read a chat completion's body (400)."""
    only(body, _CHAT, "field")
    sampling = read_sampling(body)
    messages = body.get("messages")
    if messages is None:
        raise missing("messages")
    if not isinstance(messages, list) or not messages:
        raise wrong("messages", "a list that is not empty", messages)
    parts, tokens = [], 3
    for index, message in enumerate(messages):
        content = _read_message(index, message)
        parts.append(content)
        tokens += 4 + (len(content) + 3) // 4
    schema, structured = _read_format(body)
    tools = {} if body.get("tool_choice") == "none" else _read_tools(body)
    thinks, reasoning = False, mapping(body, "reasoning")
    if reasoning is not None:
        only(reasoning, ("enabled",), "reasoning field")
        thinks = boolean(reasoning, "enabled")
    choice(body, "reasoning_effort", ("low", "medium", "high"))
    choice(body, "compliance", ("hipaa",))
    overflow = choice(body, "context_length_exceeded_behavior", ("error", "truncate"))
    return Chat(
        sampling=sampling,
        prompt="\n".join(parts),
        prompt_tokens=tokens,
        messages=messages,
        schema=schema,
        structured=structured,
        tools=tools,
        forced_tool=_forced(body, tools),
        reasoning=thinks,
        truncate=overflow == "truncate",
    )


def _read_message(index: int, message: Any) -> str:  # noqa: C901 - one check per field
    where = f"messages[{index}]"
    if not isinstance(message, dict):
        raise wrong(where, "an object", message)
    if not message.keys() <= _MESSAGE:
        only(message, _MESSAGE, f"{where} field")
    role, content = message.get("role"), message.get("content")
    if role not in _ROLES:
        raise wrong(f"{where}.role", f"one of {', '.join(_ROLES)}", role)
    if isinstance(content, str):
        return f"{role}: {content}"
    if content is None and role == "assistant" and message.get("tool_calls"):
        return f"{role}: {message['tool_calls']}"
    if not isinstance(content, list) or not content:
        raise wrong(f"{where}.content", "a string or a list of parts", content)
    texts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") not in _PARTS:
            raise wrong(f"{where}.content", f"parts of type {', '.join(_PARTS)}", part)
        if part["type"] == "text":
            if not isinstance(part.get("text"), str):
                raise wrong(f"{where}.content", "a text part with text", part)
            texts.append(part["text"])
        else:
            raise bad_request(
                f"{where}: the model takes text only, not {part['type']}", param="messages"
            )
    return f"{role}: {' '.join(texts)}"


def _read_format(body: Mapping[str, Any]) -> tuple[Any, bool]:
    given = mapping(body, "response_format")
    if given is None:
        return None, False
    kind = choice(given, "type", ("text", "json_object", "json_schema"))
    if kind is None:
        raise bad_request("response_format.type is required", param="response_format")
    if kind == "text":
        only(given, ("type",), "response_format field")
        return None, False
    if kind == "json_object":
        only(given, ("type", "schema"), "response_format field")
        return given.get("schema") or True, True
    only(given, ("type", "json_schema"), "response_format field")
    wrapped = mapping(given, "json_schema")
    if wrapped is None:
        raise bad_request("response_format.json_schema is required", param="response_format")
    only(wrapped, ("name", "description", "schema", "strict"), "json_schema field")
    name = required_text(wrapped, "name")
    if len(name) > 64 or not name.replace("-", "").replace("_", "").isalnum():
        raise wrong("name", "up to 64 letters, digits, '_' or '-'", name)
    schema = mapping(wrapped, "schema")
    return (True if schema is None else schema), True


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
