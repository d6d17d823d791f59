"""Decode a chat reply of the common form: one choice with a text, and nothing else to keep.

One typed decoder in C parses and checks such a reply; `responses` reads all others.
"""

from typing import Annotated, Any

from msgspec import Meta, MsgspecError, Raw, Struct
from msgspec.json import Decoder

from mayfly.models.rows import MAX_TOKENS, Answer

_Count = Annotated[int, Meta(ge=0, le=MAX_TOKENS)]
_Empty = Annotated[list[Any], Meta(max_length=0)] | Annotated[str, Meta(max_length=0)] | None

# A `Raw` field is of no interest, whatever its value is. An `_Empty` one is kept, or reported as
# dropped, if it has a value: that, and any field not listed, takes the full reader.


class _Message(Struct, forbid_unknown_fields=True, gc=False):
    content: str
    role: Raw = Raw()
    name: Raw = Raw()
    tool_calls: _Empty = None
    function_call: _Empty = None
    refusal: _Empty = None
    reasoning: _Empty = None
    reasoning_content: _Empty = None
    thinking: _Empty = None
    annotations: _Empty = None
    audio: _Empty = None


class _Choice(Struct, forbid_unknown_fields=True, gc=False):
    message: _Message
    finish_reason: str
    index: Raw = Raw()
    seed: Raw = Raw()
    text: Raw = Raw()
    delta: Raw = Raw()
    error: Raw = Raw()
    matched_stop: Raw = Raw()
    stop_reason: Raw = Raw()
    logprobs: _Empty = None
    token_ids: _Empty = None


class _Details(Struct, gc=False):
    cached_tokens: _Count | None = None


class _Usage(Struct, gc=False):
    prompt_tokens: _Count
    completion_tokens: _Count
    cached_tokens: _Count | None = None
    prompt_tokens_details: _Details | None = None


class _Reply(Struct, forbid_unknown_fields=True, gc=False):
    choices: tuple[_Choice]
    usage: _Usage
    id: Raw = Raw()
    object: Raw = Raw()
    created: Raw = Raw()
    model: Raw = Raw()
    data: Raw = Raw()
    service_tier: Raw = Raw()
    system_fingerprint: Raw = Raw()
    prompt: _Empty = None
    prompt_logprobs: _Empty = None
    prompt_token_ids: _Empty = None
    kv_transfer_params: _Empty = None


_decode = Decoder(_Reply).decode


def read_plain_chat(row: int, body: bytes, attempts: int, latency_s: float) -> Answer | None:
    """Return the answer in the body of a 200; None if the reply is not of the common form.

    The result equals that of the full reader, which takes several times as long.
    """
    try:
        reply = _decode(body)
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    choice, usage = reply.choices[0], reply.usage
    text, finish = choice.message.content, choice.finish_reason
    if not text.strip() or "think" in text or "THINK]" in text:
        return None
    cached = usage.cached_tokens
    if cached is None and usage.prompt_tokens_details is not None:
        cached = usage.prompt_tokens_details.cached_tokens
    # Half the time of a call with keyword arguments.
    return Answer._make(
        (
            row, text, None, finish, usage.prompt_tokens, usage.completion_tokens, cached,
            attempts, latency_s, None, None, None, None, None,
        )
    )  # fmt: skip
