"""Translate the SDK's exceptions to ours."""

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from mayfly.models.errors import (
    BadRequest,
    CredentialsRefused,
    MayflyError,
    OutcomeUnknown,
    RetryableError,
    TerminalError,
    Unreachable,
)
from mayfly.models.http_errors import CREDENTIALS, bounded_retry_after, error_message, is_retryable
from mayfly.together.sdk import APIConnectionError, APIError, APIStatusError, APITimeoutError

_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST"}
_V1_CLOSED = "endpoints_v1_create_access_disabled"
"""Source: Together API, POST and PATCH /v1/endpoints since v2."""


class Refused(TerminalError):
    """The API rejected the call.

    Attributes:
        status: HTTP status.
        code: The API's error code, or "".
        reason: The API's message.
    """

    def __init__(self, message: str, *, status: int, code: str, reason: str) -> None:
        super().__init__(message)
        self.status, self.code, self.reason = status, code, reason


@contextmanager
def translated(call: str) -> Iterator[None]:
    """Raise our exceptions for the SDK's inside the block; `call` names the operation."""
    try:
        yield
    except APITimeoutError as error:
        raise OutcomeUnknown(f"{call}: no response in time; check before retrying") from error
    except APIConnectionError as error:
        cause = error.__cause__ or error
        if (reason := unreachable(cause)) is not None:
            host = error.request.url.host
            raise Unreachable(f"{call}: {host} {reason}") from error
        raise OutcomeUnknown(f"{call}: no response ({type(cause).__name__}: {cause})") from error
    except APIStatusError as error:
        raise _status_error(call, error) from error
    except APIError as error:
        raise OutcomeUnknown(f"{call}: invalid response ({error.message})") from error
    except json.JSONDecodeError as error:
        # The SDK does not translate this: a 200 with truncated JSON.
        raise OutcomeUnknown(f"{call}: truncated response; check before retrying") from error


def unreachable(error: BaseException | None) -> str | None:
    """Return why waiting cannot help a failed connection, or None if it may."""
    seen: list[BaseException] = []
    # The cause is several exceptions below those of httpx and httpcore.
    cause = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    for cause in seen:
        match cause:
            case ssl.SSLCertVerificationError():
                return (
                    f"has a certificate that is not trusted ({cause.verify_message}); "
                    "set SSL_CERT_FILE to the certificates of its authority"
                )
            case ssl.SSLError() if getattr(cause, "reason", None) in _NO_TLS:
                return f"does not speak TLS ({cause.reason}); see TOGETHER_BASE_URL"
            # EAI_AGAIN: a temporary failure of the resolver.
            case socket.gaierror() if cause.errno != socket.EAI_AGAIN:
                return "is an unknown host; see TOGETHER_BASE_URL and the proxy variables"
            case ConnectionRefusedError():
                return "refuses connections; see TOGETHER_BASE_URL and the proxy variables"
            case httpx.ProxyError():
                return f"was refused by the proxy ({cause}); see HTTPS_PROXY and HTTP_PROXY"
            case _:
                continue
    return None


def _status_error(call: str, error: APIStatusError) -> MayflyError:
    status, (reason, code) = error.status_code, _reason(error.body, error.message)
    message = f"{call}: HTTP {status}: {reason}"
    if code == _V1_CLOSED:
        return BadRequest(
            f"{call}: Together no longer creates or starts v1 endpoints ({code}); use --api v2"
        )
    if is_retryable(status):
        return RetryableError(message, status=status, retry_after_s=_retry_after_s(error))
    if status == 401:
        what = f"HTTP 401: {reason.rstrip('.')}"
        return CredentialsRefused(f"Together rejected the API key ({what}); check TOGETHER_API_KEY")
    if status in CREDENTIALS:
        return CredentialsRefused(message)
    return Refused(message, status=status, code=code, reason=reason)


def _reason(body: object, fallback: str) -> tuple[str, str]:
    """Return message and code of an error body, or its beginning if it has no message."""
    code, message = error_message(body)
    return _one_line(message or (str(body)[:200] if body else fallback)), code


def _one_line(reason: str) -> str:
    return " ".join(reason.split())


def _retry_after_s(error: APIStatusError) -> float | None:
    return bounded_retry_after(error.response.headers.get)
