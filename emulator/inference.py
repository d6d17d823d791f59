"""Inference: find who serves a request, take its time, answer.

Source: Together API, chat completions, completions, embeddings.
"""

import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.responses import Response

from emulator.answer_json import Frame, chunks, embedding_of, usage_json, whole_answer
from emulator.answers import token_count
from emulator.call import json_response
from emulator.chat_body import read_chat
from emulator.completion_body import read_completion, read_embed
from emulator.errors import ApiError, bad_request
from emulator.generation import Asked, Said, room_for_answer, say
from emulator.rate_limit import RateLimit
from emulator.routing import route
from emulator.serving import Serving, Work, cached_tokens, first_token_s, service_s
from emulator.store import Deployment, Replica, Store
from emulator.streaming import DONE, EventStream, event

Body = Mapping[str, Any]


class Inference:
    """Answers requests for inference."""

    def __init__(self, store: Store, serving: Serving) -> None:
        self._store = store
        self._serving = serving
        self._limit = RateLimit(store)

    async def chat(self, body: Body, request_id: str) -> Response:
        """POST /v1/chat/completions."""
        return await self._answer(read_chat(body), "chat", request_id)

    async def complete(self, body: Body, request_id: str) -> Response:
        """POST /v1/completions."""
        return await self._answer(read_completion(body), "chat", request_id)

    async def embed(self, body: Body, request_id: str) -> Response:
        """POST /v1/embeddings: all texts are read side by side as one request."""
        del request_id
        asked = read_embed(body)
        deployment, headers = self._found(asked.model, asked.texts[0], "embedding")
        model = deployment.config.model
        counts = [1 + token_count(text) for text in asked.texts]
        if max(counts) > model.context_length:
            raise bad_request(
                f"input has {max(counts)} tokens, and {model.name} takes {model.context_length}",
                param="input",
                code="context_length_exceeded",
            )
        replica = await self._serving.admit(deployment, asked.model)
        try:
            work = Work(prompt_tokens=sum(counts))
            await self._serving.work(deployment, replica, work)
        finally:
            self._serving.leave(deployment, replica)
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": embedding_of(model.name, text, model.dimensions),
            }
            for index, text in enumerate(asked.texts)
        ]
        return json_response(
            {"object": "list", "model": asked.model, "data": data}, headers=headers
        )

    def _found(self, model: str, sticky: str, kind: str) -> tuple[Deployment, dict[str, str]]:
        deployment = route(self._store, model, sticky.encode())
        require_kind(deployment, kind)
        return deployment, {"x-cluster": deployment.id} | self._limit.take()

    async def _answer(self, asked: Asked, kind: str, request_id: str) -> Response:
        sampling = asked.sampling
        deployment, headers = self._found(sampling.model, sampling.sticky or asked.prompt, kind)
        room = room_for_answer(deployment, asked)
        settings = self._store.settings
        said = say(asked, deployment, room, settings.answer_tokens)
        frame = Frame(id=request_id, created=int(time.time()), asked=asked)
        replica = await self._serving.admit(deployment, sampling.model)
        cached = min(cached_tokens(deployment, asked.prompt), asked.prompt_tokens - 1)
        usage = usage_json(asked.prompt_tokens, cached, said, settings.cached_tokens)
        work = Work(
            prompt_tokens=asked.prompt_tokens,
            cached_tokens=cached,
            # Several answers are written side by side: the longest decides.
            completion_tokens=max(answer.written for answer in said),
        )
        if sampling.stream:
            events = self._streamed(frame, said, usage, work, deployment, replica)
            return EventStream(events, headers)
        try:
            await self._serving.work(deployment, replica, work)
        finally:
            self._serving.leave(deployment, replica)
        return json_response(whole_answer(frame, said, usage), headers=headers)

    async def _streamed(
        self,
        frame: Frame,
        said: list[Said],
        usage: Body,
        work: Work,
        deployment: Deployment,
        replica: Replica,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the events of an answer, each at its time; gives the replica back at the end."""
        try:
            first_s = first_token_s(deployment, work, replica.in_flight)
            rest_s = service_s(deployment, work, replica.in_flight) - first_s
            each_s = rest_s / max(1, sum(answer.written for answer in said))
            await self._serving.pause(replica, first_s)
            for chunk in chunks(frame, said, usage):
                yield event(chunk)
                await self._serving.pause(replica, each_s)
            self._serving.note(deployment, 200, work, first_s, first_s + rest_s)
            yield DONE
        finally:
            self._serving.leave(deployment, replica)


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
