"""How answers look on the wire, whole and in chunks.

Source: Together API, chat completions, completions, embeddings.
"""

import hashlib
import math
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from together_emulator.inference.chat_request import Chat
from together_emulator.inference.generation import Asked, Said, token_id, token_logprobs
from together_emulator.state.settings import CachedSpelling


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What all chunks of an answer have in common; `created` is in Unix seconds."""

    id: str
    created: int
    asked: Asked
    reasoning_field: str = "reasoning"

    @property
    def model(self) -> str:
        return self.asked.sampling.model

    @property
    def seed(self) -> int | None:
        return self.asked.sampling.seed


def usage_json(
    prompt_tokens: int, cached_tokens: int, said: list[Said], spelling: CachedSpelling
) -> dict[str, Any]:
    """Return the `usage`; the place of the cached tokens varies, or there is none."""
    written = sum(answer.written for answer in said)
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


def whole_answer(frame: Frame, said: list[Said], usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer that is not streamed."""
    asked = frame.asked
    chat = isinstance(asked, Chat)
    return {
        "id": frame.id,
        "object": "chat.completion" if chat else "text.completion",
        "created": frame.created,
        "model": frame.model,
        "prompt": _echo(asked) if asked.sampling.echo else [],
        "choices": [
            _chat_choice(frame, index, answer) if chat else _text_choice(frame, index, answer)
            for index, answer in enumerate(said)
        ],
        "usage": usage,
    }


def _echo(asked: Asked) -> list[dict[str, Any]]:
    return [{"text": asked.prompt}]


def _chat_choice(frame: Frame, index: int, said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text}
    if said.reasoning:
        message[frame.reasoning_field] = "".join(said.reasoning)
    if said.tool is not None:
        message["content"] = None
        message["tool_calls"] = [tool_call(said)]
    choice = {
        "finish_reason": said.finish_reason,
        "index": index,
        "message": message,
        "seed": frame.seed,
    }
    return _with_logprobs(choice, frame.asked, said)


def _text_choice(frame: Frame, index: int, said: Said) -> dict[str, Any]:
    text = frame.asked.prompt + said.text if frame.asked.sampling.echo else said.text
    choice = {
        "finish_reason": said.finish_reason,
        "index": index,
        "text": text,
        "seed": frame.seed,
    }
    return _with_logprobs(choice, frame.asked, said)


def tool_call(said: Said) -> dict[str, Any]:
    """Return the call that a model asks for."""
    return {
        "id": said.call_id,
        "index": 0,
        "type": "function",
        "function": {"name": said.tool, "arguments": said.text},
    }


def _with_logprobs(choice: dict[str, Any], asked: Asked, said: Said) -> dict[str, Any]:
    wanted = asked.sampling.logprobs
    if wanted:
        drawn = token_logprobs(said.seed, len(said.tokens))
        choice["logprobs"] = {
            "tokens": said.tokens,
            "token_logprobs": drawn,
            "token_ids": [token_id(token) for token in said.tokens],
            # One object for the whole answer, says the schema: the last token's alternatives.
            "top_logprobs": _alternatives(said.tokens, drawn, wanted),
        }
    return choice


def _alternatives(tokens: list[str], drawn: list[float], wanted: int) -> dict[str, float]:
    if not tokens:
        return {}
    others = sorted(set(tokens[:-1]) - {tokens[-1]})[: wanted - 1]
    return {tokens[-1]: drawn[-1]} | {
        other: round(drawn[-1] - 1 - rank, 4) for rank, other in enumerate(others)
    }


def chunks(frame: Frame, said: list[Said], usage: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a streamed answer: a chunk for each position; the last one has the usage."""
    last = len(said) - 1
    for index, answer in enumerate(said):
        logprobs = token_logprobs(answer.seed, len(answer.tokens))
        if isinstance(frame.asked, Chat):
            yield from _chat_chunks(frame, index, answer, logprobs)
        else:
            for at, token in enumerate(answer.tokens):
                yield _text_chunk(frame, index, token, logprobs[at])
        yield _ending(frame, index, answer, usage if index == last else None)


def _chat_chunks(
    frame: Frame, index: int, said: Said, logprobs: list[float]
) -> Iterator[dict[str, Any]]:
    for thought in said.reasoning:
        yield _chat_chunk(frame, index, {"content": None, frame.reasoning_field: thought})
    if said.tool is not None:
        yield _chat_chunk(frame, index, {"content": None, "tool_calls": [tool_call(said)]})
        return
    for at, token in enumerate(said.tokens):
        chunk = _chat_chunk(frame, index, {"content": token, "token_id": token_id(token)})
        if frame.asked.sampling.logprobs:
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
    frame: Frame, index: int, said: Said, usage: Mapping[str, Any] | None
) -> dict[str, Any]:
    if isinstance(frame.asked, Chat):
        chunk = _chat_chunk(frame, index, {"content": ""})
        chunk["choices"][0]["finish_reason"] = said.finish_reason
    else:
        chunk = _text_chunk(frame, index, "", 0.0)
        chunk["finish_reason"] = said.finish_reason
    chunk["usage"] = usage
    return chunk


def embedding_of(model: str, text: str, dimensions: int) -> list[float]:
    """Return a vector of length 1 that follows from the text."""
    raw = hashlib.shake_128(f"{model}\0{text}".encode()).digest(2 * dimensions)
    numbers = array("h", raw)
    length = math.sqrt(sum(number * number for number in numbers))
    return [round(number / length, 7) for number in numbers]
