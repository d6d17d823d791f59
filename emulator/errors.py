"""The refusals of the API as one exception that carries its own answer."""

from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """A refusal: status, and the body `{"error": {message, type, param, code}}`.

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
        """Return what goes over the wire."""
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}


def bad_request(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """Return a 400."""
    return ApiError(400, message, param=param, code=code or "invalid_argument")


def not_found(kind: str, name: str) -> ApiError:
    """Return a 404 for something that is not there."""
    return ApiError(404, f"{kind} {name!r} not found", code="not_found")


def conflict(message: str, *, code: str) -> ApiError:
    """Return a 409: a name that is taken, or a version that is not the newest."""
    return ApiError(409, message, code=code)
