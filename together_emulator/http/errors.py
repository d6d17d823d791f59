"""The API's errors, as an exception with its response."""

from collections.abc import Mapping
from typing import Any

_RPC_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 429: 8, 500: 13, 503: 14}


class ApiError(Exception):
    """An error response: status, and the body `{"error": {message, type, param, code}}`.

    Source: Together API, error codes.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.kind = kind
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Return the body of the response."""
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}

    def rpc_body(self) -> dict[str, Any]:
        """Return the body in the gRPC format that parts of the v2 API use.

        Source: Together CLI 3.1, which reads both; codes are those of google.rpc.Code.
        """
        return {
            "code": _RPC_CODES.get(self.status, 2),
            "message": self.message,
            "details": [{"detail": self.code or self.kind}],
        }


def bad_request(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """Return a 400."""
    return ApiError(400, message, param=param, code=code or "invalid_argument")


def not_found(kind: str, name: str) -> ApiError:
    """Return a 404 for something that does not exist."""
    return ApiError(404, f"{kind} {name!r} not found", code="not_found")


def conflict(message: str, *, code: str) -> ApiError:
    """Return a 409: a name is taken, or a version is not the newest."""
    return ApiError(409, message, code=code)
