"""Inference: route a request, emulate its latency and answer, or forward it to a real server.

Source: Together API, chat completions, completions, embeddings.
"""

import contextlib
import json
import time
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from together_emulator.http.call import json_response
from together_emulator.http.errors import ApiError, bad_request
from together_emulator.inference.affinity import Sticky, cached_tokens
from together_emulator.inference.chat_request import Chat, read_chat
from together_emulator.inference.completion_request import read_completion, read_embed
from together_emulator.inference.generation import (
    Lengths,
    Reply,
    TextRequest,
    room_for_answer,
    write_replies,
)
from together_emulator.inference.messages import require_inputs
from together_emulator.inference.rate_limit import RateLimit
from together_emulator.inference.responses import (
    Frame,
    chunks,
    embedding_of,
    usage_json,
    whole_answer,
)
from together_emulator.inference.routing import route
from together_emulator.inference.serving import Serving, Work
from together_emulator.inference.streaming import DONE, EventStream, event
from together_emulator.inference.text import token_count
from together_emulator.state.store import Deployment, Replica, Store

if TYPE_CHECKING:
    # Its HTTP client takes a while to import, and few servers have anything behind them.
    from together_emulator.inference.upstream import Upstream

Body = Mapping[str, Any]


class Inference:
    """Answers requests for inference."""

    def __init__(self, store: Store, serving: Serving, upstream: "Upstream | None" = None) -> None:
        self._store = store
        self._serving = serving
        self._upstream = upstream
        self._limit = RateLimit(store)

    async def close(self) -> None:
        """Close the connection to the upstream server, if there is one."""
        if self._upstream is not None:
            await self._upstream.close()

    async def chat(self, body: Body, request_id: str) -> Response:
        """POST /v1/chat/completions."""
        request = read_chat(body, strict=self._store.settings.strict_fields)
        if self._upstream is not None:
            return await self._forward(
                self._upstream, request, "/chat/completions", body, request_id
            )
        return await self._answer(request, request_id)

    async def complete(self, body: Body, request_id: str) -> Response:
        """POST /v1/completions."""
        request = read_completion(body, strict=self._store.settings.strict_fields)
        if self._upstream is not None:
            return await self._forward(self._upstream, request, "/completions", body, request_id)
        return await self._answer(request, request_id)

    async def embed(self, body: Body, request_id: str) -> Response:
        """POST /v1/embeddings: all texts count as one request."""
        request = read_embed(body, strict=self._store.settings.strict_fields)
        sticky = Sticky(key=request.texts[0].encode(), named=False)
        deployment, headers = self._found(request.model, sticky, "embedding")
        model = deployment.model
        counts = [1 + token_count(text) for text in request.texts]
        if max(counts) > model.context_length:
            raise bad_request(
                f"input has {max(counts)} tokens, and {model.name} takes {model.context_length}",
                param="input",
                code="context_length_exceeded",
            )
        work = Work(prompt_tokens=sum(counts))
        replica = await self._serving.admit(deployment, request.model, sticky)
        headers |= _served_by(replica)
        if self._upstream is not None:
            answer = await self._sent(
                self._upstream, "/embeddings", body, request_id, work, deployment, replica
            )
            return json_response(answer, headers=headers)
        try:
            await self._serving.work(deployment, replica, work)
        finally:
            self._serving.leave(deployment, replica)
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": embedding_of(model.name, text, model.dimensions),
            }
            for index, text in enumerate(request.texts)
        ]
        return json_response(
            {"object": "list", "model": request.model, "data": data}, headers=headers
        )

    def _found(self, model: str, sticky: Sticky, kind: str) -> tuple[Deployment, dict[str, str]]:
        deployment = route(self._store, model, sticky.key)
        require_kind(deployment, kind)
        return deployment, {"x-cluster": deployment.id} | self._limit.take()

    async def _forward(
        self, upstream: "Upstream", request: TextRequest, path: str, body: Body, request_id: str
    ) -> Response:
        sampling = request.sampling
        sticky = _sticky(request)
        deployment, headers = self._found(sampling.model, sticky, "chat")
        _require_media(request, deployment)
        replica = await self._serving.admit(deployment, sampling.model, sticky)
        headers |= _served_by(replica)
        work = Work(prompt_tokens=request.prompt_tokens)
        if sampling.stream:
            chunks_ = upstream.stream(path, body, request_id, model=deployment.model.name)
            events = self._passed_on(chunks_, work, deployment, replica)
            return EventStream(events, headers)
        answer = await self._sent(upstream, path, body, request_id, work, deployment, replica)
        return json_response(answer, headers=headers)

    async def _sent(
        self,
        upstream: "Upstream",
        path: str,
        body: Body,
        request_id: str,
        work: Work,
        deployment: Deployment,
        replica: Replica,
    ) -> dict[str, Any]:
        """Forward a request to the upstream server while it holds a slot of a replica."""
        with self._serving.measured(deployment, replica, work) as measure:
            answer = await upstream.whole(path, body, request_id, model=deployment.model.name)
            measure.read(answer.get("usage"))
            return answer

    async def _passed_on(
        self,
        source: AsyncGenerator[dict[str, Any], None],
        work: Work,
        deployment: Deployment,
        replica: Replica,
    ) -> AsyncGenerator[bytes, None]:
        with self._serving.measured(deployment, replica, work) as measure:
            async with contextlib.aclosing(source) as parts:
                async for chunk in parts:
                    measure.read(chunk.get("usage"))
                    yield event(chunk)
            yield DONE

    async def _answer(self, request: TextRequest, request_id: str) -> Response:
        sampling = request.sampling
        sticky = _sticky(request)
        deployment, headers = self._found(sampling.model, sticky, "chat")
        _require_media(request, deployment)
        room = room_for_answer(deployment, request)
        settings = self._store.settings
        lengths = Lengths(thinking=settings.reasoning_tokens, answer=settings.answer_tokens)
        replies = write_replies(request, deployment, room, lengths)
        frame = Frame(
            id=request_id,
            created=int(time.time()),
            request=request,
            reasoning_field=settings.reasoning_field,
        )
        replica = await self._serving.admit(deployment, sampling.model, sticky)
        headers |= _served_by(replica)
        cached = min(cached_tokens(replica, request.prompt), request.prompt_tokens - 1)
        usage = usage_json(request.prompt_tokens, cached, replies, settings.cached_tokens)
        work = Work(
            prompt_tokens=request.prompt_tokens,
            cached_tokens=cached,
            # Several answers are generated in parallel: the longest determines the time.
            completion_tokens=max(answer.written for answer in replies),
        )
        if sampling.stream:
            events = self._streamed(frame, replies, usage, work, deployment, replica)
            return EventStream(events, headers)
        try:
            await self._serving.work(deployment, replica, work)
        finally:
            self._serving.leave(deployment, replica)
        return json_response(whole_answer(frame, replies, usage), headers=headers)

    async def _streamed(
        self,
        frame: Frame,
        replies: list[Reply],
        usage: Body,
        work: Work,
        deployment: Deployment,
        replica: Replica,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the events of an answer, each at its time; release the slot at the end."""
        try:
            first_s, last_s = self._serving.times_s(deployment, work, replica)
            rest_s = last_s - first_s
            each_s = rest_s / max(1, sum(answer.written for answer in replies))
            await self._serving.pause(replica, first_s)
            for chunk in chunks(frame, replies, usage):
                yield event(chunk)
                await self._serving.pause(replica, each_s)
            self._serving.note(deployment, 200, work, first_s, first_s + rest_s)
            yield DONE
        finally:
            self._serving.leave(deployment, replica)


def require_kind(deployment: Deployment, kind: str) -> None:
    """Reject (400) a request that the model's kind does not support."""
    model = deployment.model
    if model.kind != kind:
        raise ApiError(
            400,
            f"model {model.name} is of kind {model.kind} and does not serve {kind} requests",
            code="model_not_available",
            param="model",
        )


def _sticky(request: TextRequest) -> Sticky:
    named = request.sampling.sticky
    return Sticky(key=(named or request.prompt).encode(), named=named is not None)


def _require_media(request: TextRequest, deployment: Deployment) -> None:
    if isinstance(request, Chat) and request.media:
        require_inputs(request.media, deployment.model.inputs, deployment.model.name)


def _served_by(replica: Replica) -> dict[str, str]:
    """Return the header with the replica's name, which clients cannot rely on.

    Source: Together API, dedicated model inference (`worker_url`, per replica).
    """
    event = {"worker_url": f"http://{replica.id}"}
    return {"x-i-router-log-event": json.dumps(event)}
