"""Generate synthetic answers: tokens, thinking, tool calls, and finish reasons.

Source: Together API, chat completions and completions.
"""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from together_emulator.http.errors import bad_request
from together_emulator.inference.chat_request import Chat, Sampling
from together_emulator.inference.completion_request import Completion
from together_emulator.inference.schema_instance import SchemaWriter
from together_emulator.inference.text import answer_tokens, pieces, seed_of
from together_emulator.state.catalogue import Thinking
from together_emulator.state.store import Deployment

_ANY_OBJECT = {
    "type": "object",
    "properties": {
        "answer": {"type": "string"},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    },
}
_EFFORTS = {"low": 0.4, "medium": 1.0, "high": 2.5}
_VOCABULARY = 151_936
TextRequest = Chat | Completion


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Minimum and maximum length of thinking and answer, in tokens."""

    thinking: tuple[int, int]
    answer: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer.

    Attributes:
        tokens: The tokens of the text, or of the arguments of the tool call.
        reasoning: Tokens of the thinking, which count as completion tokens.
        tool: The function that is called instead of an answer.
        seed: Seed of the answer.
    """

    tokens: list[str]
    finish_reason: str
    seed: bytes
    reasoning: list[str]
    tool: str | None = None

    @property
    def text(self) -> str:
        """The answer as one text."""
        return "".join(self.tokens)

    @property
    def written(self) -> int:
        """Number of completion tokens."""
        return len(self.tokens) + len(self.reasoning)

    @property
    def call_id(self) -> str:
        """The id of the tool call."""
        return f"call_{hashlib.sha256(self.seed).hexdigest()[:24]}"


def write_replies(
    request: TextRequest, deployment: Deployment, room: int, lengths: Lengths
) -> list[Reply]:
    """Return the `n` answers to a request.

    Args:
        room: Maximum tokens of an answer, including thinking.
        lengths: Length of thinking and answer, unless truncated.
    """
    model = deployment.model
    sampling = request.sampling
    seeds = (_seed(sampling, model.name, request.prompt, i) for i in range(sampling.n))
    if isinstance(request, Completion):
        return [_cut(answer_tokens(seed, *lengths.answer), sampling, room, seed) for seed in seeds]
    thinks = does_think(model.thinking, wanted=request.reasoning)
    return [_write_reply(request, seed, room, lengths, thinks=thinks) for seed in seeds]


def does_think(thinking: Thinking, *, wanted: bool | None) -> bool:
    """Whether a model thinks before it answers.

    Args:
        wanted: The request's setting; None if it has none.
    """
    match thinking:
        case "never":
            return False
        case "asked":
            return wanted is True
        case "default":
            return wanted is not False
        case "always":
            return True


def _write_reply(request: Chat, seed: bytes, room: int, lengths: Lengths, *, thinks: bool) -> Reply:
    reasoning: list[str] = []
    if thinks:
        scale = _EFFORTS[request.effort or "medium"]
        shortest, longest = (max(1, round(scale * n)) for n in lengths.thinking)
        reasoning = answer_tokens(seed_of(seed, b"why"), shortest, longest)
    if len(reasoning) >= room:
        # The limit was reached while thinking: there is no answer.
        return Reply(tokens=[], finish_reason="length", seed=seed, reasoning=reasoning[:room])
    room -= len(reasoning)
    tool = _called(request, seed)
    if tool is not None:
        tokens = pieces(_json(request.tools[tool], seed))
    elif request.structured:
        tokens = pieces(_json(_ANY_OBJECT if request.schema is True else request.schema, seed))
    elif request.pattern is not None:
        schema = {"type": "string", "pattern": request.pattern}
        tokens = pieces(str(SchemaWriter(schema, seed).write()))
    else:
        tokens = answer_tokens(seed, *lengths.answer)
    return _cut(tokens, request.sampling, room, seed, reasoning=reasoning, tool=tool)


def _json(schema: Any, seed: bytes) -> str:
    return orjson.dumps(SchemaWriter(schema, seed).write()).decode()


def _called(request: Chat, seed: bytes) -> str | None:
    """Return the function to call: the forced one, or any one until a tool has answered."""
    if request.forced_tool:
        return request.forced_tool
    answered = request.messages[-1]["role"] == "tool"
    if not request.tools or (answered and request.forced_tool is None):
        return None
    return list(request.tools)[seed[7] % len(request.tools)]


def _seed(sampling: Sampling, model: str, prompt: str, index: int) -> bytes:
    """Return the seed of an answer; at temperature 0 it ignores the request's seed."""
    drawn = f"{sampling.temperature}/{sampling.seed}" if sampling.temperature else "greedy"
    return seed_of(model.encode(), prompt.encode(), drawn.encode(), b"%d" % index)


def _cut(
    tokens: list[str],
    sampling: Sampling,
    room: int,
    seed: bytes,
    *,
    reasoning: Sequence[str] = (),
    tool: str | None = None,
) -> Reply:
    """Truncate an answer at a stop text or at the token limit."""
    reason = "stop" if tool is None else "tool_calls"
    if sampling.stop and tool is None:
        text = "".join(tokens)
        found = [at for word in sampling.stop if (at := text.find(word)) >= 0]
        if found:
            tokens = pieces(text[: min(found)])
    if len(tokens) > room:
        tokens, reason = tokens[:room], "length"
    return Reply(
        tokens=tokens, finish_reason=reason, seed=seed, reasoning=list(reasoning), tool=tool
    )


def room_for_answer(deployment: Deployment, request: TextRequest) -> int:
    """Return the maximum tokens of an answer (400 if the context is too small)."""
    context = deployment.config.profile.max_context or deployment.model.context_length
    prompt_tokens, max_tokens = request.prompt_tokens, request.sampling.max_tokens
    left = context - prompt_tokens
    wanted = left if max_tokens is None else max_tokens
    if left < 1 or (wanted > left and not request.truncate):
        raise bad_request(
            f"Input validation error: `inputs` tokens + `max_new_tokens` must be <= {context}. "
            f"Given: {prompt_tokens} `inputs` tokens and {max(wanted, 0)} `max_new_tokens`",
            param="max_tokens",
            code="context_length_exceeded",
        )
    return min(wanted, left)


def token_id(token: str) -> int:
    """Return a token's id in the vocabulary."""
    return zlib.crc32(token.encode()) % _VOCABULARY


def token_logprobs(seed: bytes, count: int) -> list[float]:
    """Return the log probabilities of an answer's tokens: most are near 0."""
    drawn = hashlib.shake_128(seed + b"logprobs").digest(count)
    return [round(-((byte / 255) ** 4) * 5, 4) for byte in drawn]
