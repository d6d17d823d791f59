"""The wire format of answers, complete and streamed.

Source: Together API, chat completions, completions, embeddings.
"""

import hashlib
import math
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from together_emulator.inference.chat_request import Chat
from together_emulator.inference.generation import Reply, TextRequest, token_id, token_logprobs
from together_emulator.state.settings import CachedSpelling


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Common fields of all chunks of an answer; `created` is in Unix seconds."""

    id: str
    created: int
    request: TextRequest
    reasoning_field: str = "reasoning"

    @property
    def model(self) -> str:
        """Name of the model, as the request gives it."""
        return self.request.sampling.model

    @property
    def seed(self) -> int | None:
        """The request's seed."""
        return self.request.sampling.seed


def usage_json(
    prompt_tokens: int, cached_tokens: int, replies: list[Reply], spelling: CachedSpelling
) -> dict[str, Any]:
    """Return the `usage`; a setting determines the field of the cached tokens."""
    written = sum(answer.written for answer in replies)
    usage: dict[str, Any] = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": written,
        "total_tokens": prompt_tokens + written,
    }
    if spelling == "flat":
        usage["cached_tokens"] = cached_tokens
    elif spelling == "details":
        usage["prompt_tokens_details"] = {"cached_tokens": cached_tokens}
    return usage


def whole_answer(frame: Frame, replies: list[Reply], usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer that is not streamed."""
    request = frame.request
    chat = isinstance(request, Chat)
    return {
        "id": frame.id,
        "object": "chat.completion" if chat else "text.completion",
        "created": frame.created,
        "model": frame.model,
        "prompt": _echo(request) if request.sampling.echo else [],
        "choices": [
            _chat_choice(frame, index, answer) if chat else _text_choice(frame, index, answer)
            for index, answer in enumerate(replies)
        ],
        "usage": usage,
    }


def _echo(request: TextRequest) -> list[dict[str, Any]]:
    return [{"text": request.prompt}]


def _chat_choice(frame: Frame, index: int, reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.reasoning:
        message[frame.reasoning_field] = "".join(reply.reasoning)
    if reply.tool is not None:
        message["content"] = None
        message["tool_calls"] = [tool_call(reply)]
    choice = {
        "finish_reason": reply.finish_reason,
        "index": index,
        "message": message,
        "seed": frame.seed,
    }
    return _with_logprobs(choice, frame.request, reply)


def _text_choice(frame: Frame, index: int, reply: Reply) -> dict[str, Any]:
    text = frame.request.prompt + reply.text if frame.request.sampling.echo else reply.text
    choice = {
        "finish_reason": reply.finish_reason,
        "index": index,
        "text": text,
        "seed": frame.seed,
    }
    return _with_logprobs(choice, frame.request, reply)


def tool_call(reply: Reply) -> dict[str, Any]:
    """Return a tool call."""
    return {
        "id": reply.call_id,
        "index": 0,
        "type": "function",
        "function": {"name": reply.tool, "arguments": reply.text},
    }


def _with_logprobs(choice: dict[str, Any], request: TextRequest, reply: Reply) -> dict[str, Any]:
    wanted = request.sampling.logprobs
    if wanted:
        drawn = token_logprobs(reply.seed, len(reply.tokens))
        choice["logprobs"] = {
            "tokens": reply.tokens,
            "token_logprobs": drawn,
            "token_ids": [token_id(token) for token in reply.tokens],
            # By the schema, one object for the whole answer: the last token's alternatives.
            "top_logprobs": _alternatives(reply.tokens, drawn, wanted),
        }
    return choice


def _alternatives(tokens: list[str], drawn: list[float], wanted: int) -> dict[str, float]:
    if not tokens:
        return {}
    others = sorted(set(tokens[:-1]) - {tokens[-1]})[: wanted - 1]
    return {tokens[-1]: drawn[-1]} | {
        other: round(drawn[-1] - 1 - rank, 4) for rank, other in enumerate(others)
    }


def chunks(
    frame: Frame, replies: list[Reply], usage: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield a streamed answer: one chunk per position; the last one has the usage."""
    last = len(replies) - 1
    for index, answer in enumerate(replies):
        logprobs = token_logprobs(answer.seed, len(answer.tokens))
        if isinstance(frame.request, Chat):
            yield from _chat_chunks(frame, index, answer, logprobs)
        else:
            for at, token in enumerate(answer.tokens):
                yield _text_chunk(frame, index, token, logprobs[at])
        yield _ending(frame, index, answer, usage if index == last else None)


def _chat_chunks(
    frame: Frame, index: int, reply: Reply, logprobs: list[float]
) -> Iterator[dict[str, Any]]:
    for thought in reply.reasoning:
        yield _chat_chunk(frame, index, {"content": None, frame.reasoning_field: thought})
    if reply.tool is not None:
        yield _chat_chunk(frame, index, {"content": None, "tool_calls": [tool_call(reply)]})
        return
    for at, token in enumerate(reply.tokens):
        chunk = _chat_chunk(frame, index, {"content": token, "token_id": token_id(token)})
        if frame.request.sampling.logprobs:
            chunk["choices"][0]["logprobs"] = logprobs[at]
        yield chunk


def _chat_chunk(frame: Frame, index: int, delta: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": frame.id,
        "object": "chat.completion.chunk",
        "created": frame.created,
        "model": frame.model,
        "choices": [
            {
                "index": index,
                "delta": {"role": "assistant", **delta},
                "finish_reason": None,
                "seed": frame.seed,
            }
        ],
        "usage": None,
    }


def _text_chunk(frame: Frame, index: int, token: str, logprob: float) -> dict[str, Any]:
    return {
        "id": frame.id,
        "object": "completion.chunk",
        "created": frame.created,
        "model": frame.model,
        "token": {
            "id": token_id(token) if token else 0,
            "text": token,
            "logprob": logprob,
            "special": not token,
        },
        "choices": [{"index": index, "text": token}],
        "finish_reason": None,
        "seed": frame.seed,
        "usage": None,
    }


def _ending(
    frame: Frame, index: int, reply: Reply, usage: Mapping[str, Any] | None
) -> dict[str, Any]:
    if isinstance(frame.request, Chat):
        chunk = _chat_chunk(frame, index, {"content": ""})
        chunk["choices"][0]["finish_reason"] = reply.finish_reason
    else:
        chunk = _text_chunk(frame, index, "", 0.0)
        chunk["finish_reason"] = reply.finish_reason
    chunk["usage"] = usage
    return chunk


def embedding_of(model: str, text: str, dimensions: int) -> list[float]:
    """Return a unit vector that is determined by the text."""
    raw = hashlib.shake_128(f"{model}\0{text}".encode()).digest(2 * dimensions)
    numbers = array("h", raw)
    length = math.sqrt(sum(number * number for number in numbers))
    return [round(number / length, 7) for number in numbers]
