"""Convert rows of an output to lines of OpenAI-batch result and error files.

Source: OpenAI API, Batch, the request output object: `id`, `custom_id`, `response` (`status_code`,
`request_id`, `body`) and `error` (`code`, `message`). Together's batch files have the same.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from mayfly.models.failures import Failure


class BatchResults:
    """Builds the lines of one output.

    Args:
        fingerprint: The job's fingerprint; ids are derived from it and the row, so that every
            export has the same ones.
        model: The job's model.
        path: Path of the requests, such as `chat/completions`.
        created: Unix time, seconds.
    """

    def __init__(self, *, fingerprint: str, model: str, path: str, created: float) -> None:
        self._fingerprint = fingerprint
        self._model = model
        self._path = path
        self._created = int(created)

    def line(self, number: int, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the line of a row, for the result file or, if it has an error, the error file."""
        digest = hashlib.sha256(f"{self._fingerprint} {number}".encode()).hexdigest()
        custom_id = row.get("custom_id")
        line: dict[str, Any] = {
            "id": f"batch_req_{digest[:24]}",
            "custom_id": f"row-{number}" if custom_id is None else str(custom_id),
            "response": None,
            "error": None,
        }
        if row["error"] is None:
            body = self._body(digest[24:48], row)
            line["response"] = _response(200, digest, body)
            return line
        failure = Failure.parse(str(row["error"]))
        code = failure.code or failure.kind
        line["error"] = {"code": code, "message": failure.message}
        if failure.status is not None and failure.status != 200:
            about = {"message": failure.message, "type": failure.kind, "param": None, "code": code}
            line["response"] = _response(failure.status, digest, {"error": about})
        return line

    def _body(self, digest: str, row: Mapping[str, Any]) -> dict[str, Any]:
        if self._path == "embeddings":
            vector = {"object": "embedding", "index": 0, "embedding": row["embedding"]}
            return {
                "object": "list",
                "data": [vector],
                "model": self._model,
                "usage": _usage(row, embeds=True),
            }
        chat = self._path == "chat/completions"
        texts = row.get("responses") or [row["response"]]
        return {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{digest}",
            "object": "chat.completion" if chat else "text_completion",
            "created": self._created,
            "model": self._model,
            "choices": [_choice(index, text, row, chat=chat) for index, text in enumerate(texts)],
            "usage": _usage(row),
        }


def _response(status: int, digest: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"status_code": status, "request_id": f"req_{digest[32:56]}", "body": body}


def _choice(index: int, text: str | None, row: Mapping[str, Any], *, chat: bool) -> dict[str, Any]:
    first = index == 0
    logprobs = row.get("logprobs") if first else None
    choice: dict[str, Any] = {"index": index}
    if chat:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if first and row.get("reasoning") is not None:
            message["reasoning"] = row["reasoning"]
        if first and row.get("tool_calls") is not None:
            message["tool_calls"] = orjson.Fragment(row["tool_calls"])
        choice["message"] = message
        choice["logprobs"] = None if logprobs is None else {"content": logprobs}
    else:
        choice["text"] = text
        choice["logprobs"] = None if logprobs is None else _by_token(logprobs)
    choice["finish_reason"] = row["finish_reason"]
    return choice


def _by_token(logprobs: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "tokens": [token["token"] for token in logprobs],
        "token_logprobs": [token["logprob"] for token in logprobs],
    }


def _usage(row: Mapping[str, Any], *, embeds: bool = False) -> dict[str, Any]:
    prompt, completion = row["prompt_tokens"], row["completion_tokens"]
    usage: dict[str, Any] = {"prompt_tokens": prompt}
    if not embeds:
        usage["completion_tokens"] = completion
        if row.get("cached_tokens") is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": row["cached_tokens"]}
    usage["total_tokens"] = None if prompt is None else prompt + (completion or 0)
    return usage
