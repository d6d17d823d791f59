"""Forward inference requests to an OpenAI-compatible server, for real answers.

Endpoints, states and bills stay emulated; only answers and latencies are real. Responses are
converted to Together's format, which has more fields.
"""

import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx
import orjson

from together_emulator.http.errors import ApiError

_OWN_FIELDS = ("compliance", "context_length_exceeded_behavior", "reasoning", "safety_model")
"""Fields that only Together supports, which are not forwarded (thinking is set in the template)."""
_CONNECT_S = 10.0


class Upstream:
    """The upstream server; connects with the first request."""

    def __init__(self, url: str, *, models: Mapping[str, str] | None = None, key: str = "") -> None:
        """Store the server's address.

        Args:
            url: With or without `/v1` at its end.
            models: The server's names of the catalogue's models; "" for all others. Models that are
                not mapped are looked up in the server's own list.
            key: Sent as a bearer token unless it is empty.
        """
        base = url.rstrip("/")
        self.url = base if base.endswith("/v1") else f"{base}/v1"
        self._models = dict(models or {})
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._client: httpx.AsyncClient | None = None

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                headers=self._headers,
                timeout=httpx.Timeout(None, connect=_CONNECT_S),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=256),
                # A server on this machine needs no proxy.
                trust_env=False,
            )
        return self._client

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _body(self, body: Mapping[str, Any], model: str) -> dict[str, Any]:
        """Return the request in the format of the upstream server.

        Args:
            model: The catalogue's name of what is deployed.
        """
        sent = {k: v for k, v in body.items() if k not in _OWN_FIELDS}
        sent["model"] = await self._name_of(model)
        reasoning = body.get("reasoning")
        if isinstance(reasoning, Mapping) and "enabled" in reasoning:
            # vLLM, SGLang and llama.cpp control thinking by an argument of the chat template.
            template = {"enable_thinking": reasoning["enabled"]}
            sent["chat_template_kwargs"] = template | (sent.get("chat_template_kwargs") or {})
        return sent

    async def _name_of(self, model: str) -> str:
        named = self._models.get(model) or self._models.get("")
        if named:
            return named
        listed = await self._send("GET", "/models", None)
        entries = listed.get("data") or []
        names = [str(entry.get("id")) for entry in entries if isinstance(entry, Mapping)]
        if not names:
            raise _broken(self.url, "it lists no model; name one with --upstream-model")
        # A server with several models (Ollama, a gateway) lists many: prefer the same name.
        found = next((name for name in names if _same_model(name, model)), names[0])
        self._models[model] = found
        return found

    async def _send(self, method: str, path: str, body: Any) -> dict[str, Any]:
        try:
            answer = await self._connected().request(method, f"{self.url}{path}", json=body)
        except httpx.TransportError as error:
            raise _broken(self.url, str(error) or type(error).__name__) from None
        return _read(self.url, answer.status_code, answer.content)

    async def whole(
        self, path: str, body: Mapping[str, Any], request_id: str, *, model: str
    ) -> dict[str, Any]:
        """Return the response to a request (errors unchanged; 502 if there is none).

        Cancelling closes the connection, so that a server can drop the request.

        Args:
            path: Such as `/chat/completions`.
            model: The catalogue's name of what is deployed.
        """
        answer = await self._send("POST", path, await self._body(body, model))
        answer["model"] = body["model"]
        if path == "/embeddings":
            return answer
        answer |= {"id": request_id, "prompt": answer.get("prompt") or []}
        if path == "/completions":
            answer["object"] = "text.completion"
        for choice in answer.get("choices") or []:
            for index, call in enumerate((choice.get("message") or {}).get("tool_calls") or []):
                call.setdefault("index", index)
        return answer

    async def stream(
        self, path: str, body: Mapping[str, Any], request_id: str, *, model: str
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the chunks of an answer."""
        sent = await self._body(body, model) | {"stream_options": {"include_usage": True}}
        try:
            async with self._connected().stream("POST", f"{self.url}{path}", json=sent) as answer:
                if answer.status_code != 200:
                    _read(self.url, answer.status_code, await answer.aread())
                async for line in answer.aiter_lines():
                    if line.startswith("data:") and not line.endswith("[DONE]"):
                        chunk = _parsed(self.url, line.removeprefix("data:").encode())
                        yield _chunk(path, chunk, body["model"], request_id)
        except httpx.TransportError as error:
            raise _broken(self.url, str(error) or type(error).__name__) from None


def _same_model(listed: str, wanted: str) -> bool:
    def bare(name: str) -> str:
        return name.rsplit("/", 1)[-1].lower()

    return bare(listed) == bare(wanted)


def _chunk(path: str, chunk: dict[str, Any], model: str, request_id: str) -> dict[str, Any]:
    chunk |= {"id": request_id, "model": model}
    chunk.setdefault("created", int(time.time()))
    choices = chunk.setdefault("choices", [])
    if path == "/chat/completions":
        for choice in choices:
            choice.setdefault("delta", {}).setdefault("role", "assistant")
            for index, call in enumerate(choice["delta"].get("tool_calls") or []):
                call.setdefault("index", index)
            # Together's schema has one number per token, OpenAI's an object.
            choice["logprobs"] = None
        return chunk
    text = "".join(choice.get("text") or "" for choice in choices)
    return chunk | {
        "object": "completion.chunk",
        "token": {"id": 0, "text": text, "logprob": 0.0, "special": not text},
        "choices": [{"index": c.get("index", 0), "text": c.get("text") or ""} for c in choices],
        "finish_reason": next(
            (c["finish_reason"] for c in choices if c.get("finish_reason")), None
        ),
    }


def _parsed(url: str, raw: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(raw)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise _broken(url, "it did not answer with a JSON object")
    return answer


def _read(url: str, status: int, raw: bytes) -> dict[str, Any]:
    if status < 400:
        return _parsed(url, raw)
    try:
        answer = orjson.loads(raw)
    except orjson.JSONDecodeError:
        answer = None
    error = answer.get("error", answer) if isinstance(answer, dict) else None
    words = error.get("message") if isinstance(error, dict) else error
    code = error.get("code") if isinstance(error, dict) else None
    raise ApiError(
        status,
        str(words or f"upstream {url} answered {status}"),
        code=str(code) if code else None,
        kind="upstream_error",
    )


def _broken(url: str, why: str) -> ApiError:
    return ApiError(502, f"upstream {url}: {why}", code="bad_gateway", kind="upstream_error")
