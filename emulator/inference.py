"""POST /v1/chat/completions: find who serves it, take its time, answer.

Source: Together API, chat completions.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from emulator.answers import answer_tokens, pieces, seed_of
from emulator.chat_body import Chat, Sampling, read_chat
from emulator.errors import ApiError, bad_request
from emulator.json_answers import SchemaWriter
from emulator.routing import route
from emulator.serving import Serving, Work, cached_tokens, service_s
from emulator.store import Deployment, Store

_ANY_OBJECT = {
    "type": "object",
    "properties": {
        "answer": {"type": "string"},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One answer: its tokens (joined they are the text) and why it ended."""

    tokens: list[str]
    finish_reason: str

    @property
    def text(self) -> str:
        return "".join(self.tokens)


def sampling_seed(sampling: Sampling, model: str, prompt: str, index: int) -> bytes:
    """Return what an answer follows from; at temperature 0 the request's seed plays no part."""
    drawn = f"{sampling.temperature}/{sampling.seed}" if sampling.temperature else "greedy"
    return seed_of(model.encode(), prompt.encode(), drawn.encode(), b"%d" % index)


def cut(tokens: list[str], sampling: Sampling, room: int) -> Said:
    """End an answer where a stop text or the limit on tokens ends it."""
    reason = "stop"
    if sampling.stop:
        text = "".join(tokens)
        found = [at for word in sampling.stop if (at := text.find(word)) >= 0]
        if found:
            tokens = pieces(text[: min(found)])
    if len(tokens) > room:
        tokens, reason = tokens[:room], "length"
    return Said(tokens=tokens, finish_reason=reason)


def room_for_answer(
    deployment: Deployment, prompt_tokens: int, max_tokens: int | None, *, truncate: bool
) -> int:
    """Return how many tokens an answer may have (400 when the context cannot hold it)."""
    context = deployment.config.profile.max_context or deployment.config.model.context_length
    left = context - prompt_tokens
    wanted = left if max_tokens is None else max_tokens
    if left < 1 or (wanted > left and not truncate):
        raise bad_request(
            f"Input validation error: `inputs` tokens + `max_new_tokens` must be <= {context}. "
            f"Given: {prompt_tokens} `inputs` tokens and {max(wanted, 0)} `max_new_tokens`",
            param="max_tokens",
            code="context_length_exceeded",
        )
    return min(wanted, left)


class Inference:
    """Answers chat completions."""

    def __init__(self, store: Store, serving: Serving) -> None:
        self._store = store
        self._serving = serving
        self._count = 0

    def new_id(self) -> str:
        """Return the next answer's id."""
        self._count += 1
        return f"em{self._count:09x}-{self._store.settings.seed:x}"

    def created(self) -> int:
        """Return the wire's `created`: whole seconds of Unix time."""
        return int(time.time())

    async def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the whole answer to a chat completion."""
        asked = read_chat(body)
        sampling = asked.sampling
        sticky = (sampling.sticky or asked.prompt).encode()
        deployment = route(self._store, sampling.model, sticky)
        require_kind(deployment, "chat")
        room = room_for_answer(
            deployment, asked.prompt_tokens, sampling.max_tokens, truncate=asked.truncate
        )
        name = deployment.config.model.name
        said = [
            cut(self._tokens(asked, sampling_seed(sampling, name, asked.prompt, i)), sampling, room)
            for i in range(sampling.n)
        ]
        usage = await self.serve(
            deployment, sampling.model, asked.prompt, asked.prompt_tokens, said
        )
        return {
            "id": self.new_id(),
            "object": "chat.completion",
            "created": self.created(),
            "model": sampling.model,
            "prompt": [],
            "choices": [
                {
                    "finish_reason": answer.finish_reason,
                    "index": index,
                    "message": {"role": "assistant", "content": answer.text},
                    "seed": sampling.seed,
                }
                for index, answer in enumerate(said)
            ],
            "usage": usage,
        }

    def _tokens(self, asked: Chat, seed: bytes) -> list[str]:
        if asked.structured:
            schema = _ANY_OBJECT if asked.schema is True else asked.schema
            return pieces(orjson.dumps(SchemaWriter(schema, seed).write()).decode())
        return answer_tokens(seed, *self._store.settings.answer_tokens)

    async def serve(
        self, deployment: Deployment, model: str, prompt: str, prompt_tokens: int, said: list[Said]
    ) -> dict[str, int]:
        """Take the time that answers need on a replica and return the `usage`."""
        replica = await self._serving.admit(deployment, model)
        try:
            cached = min(cached_tokens(deployment, prompt), prompt_tokens - 1)
            written = sum(len(answer.tokens) for answer in said)
            # Several answers are written side by side: the longest decides.
            longest = max(len(answer.tokens) for answer in said)
            work = Work(
                prompt_tokens=prompt_tokens, cached_tokens=cached, completion_tokens=longest
            )
            seconds = service_s(deployment, work, replica.in_flight)
            await self._serving.work(deployment, replica, seconds)
        finally:
            self._serving.leave(deployment, replica)
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": written,
            "total_tokens": prompt_tokens + written,
            "cached_tokens": cached,
        }


def require_kind(deployment: Deployment, kind: str) -> None:
    """Refuse (400) a request that the model's kind cannot answer."""
    model = deployment.config.model
    if model.kind != kind:
        raise ApiError(
            400,
            f"model {model.name} is of kind {model.kind} and does not serve {kind} requests",
            code="model_not_available",
            param="model",
        )
