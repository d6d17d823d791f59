"""The exceptions of mayfly, by what the caller can do about them.

MayflyError
├── BadRequest           the request itself is wrong; nothing was created (exit 2)
├── NotApproved          the plan was rejected, or not approved in time; nothing was created
├── RetryableError       the same call may succeed later
│   ├── OutcomeUnknown   sent, but no response: check the state before retrying
│   └── Unreachable      waiting does not help: unknown host, refused, certificate, proxy
├── HardwareUnavailable  this hardware is not available now; another may be
├── EndpointLost         the endpoint failed, was stopped or disappeared during a batch
│   └── TimeToMove       it still exists, but the time in its name is nearly over
├── TerminalError        retrying cannot help (exit 1)
│   ├── CredentialsRefused   401, 402 or 403 from the API
│   ├── TimedOut             a wait exceeded its time limit
│   └── RunStalled           the output accepts no answers, or no row is ready to be sent
├── RunStopped           one of the user's limits ended the run; it can be resumed (exit 5)
└── TeardownFailed       something may still be billed (exit 4)
"""

from typing import Any

from mayfly.models.texts import printable


class MayflyError(Exception):
    """Base class; the message is one line: what is wrong, where, and what to do."""

    exit_code = 1

    def __init__(self, message: object = "") -> None:
        # Messages quote servers and files, which may hold control characters.
        super().__init__(printable(message) if isinstance(message, str) else message)

    def __reduce__(self) -> tuple[Any, ...]:
        # Prefect pickles a failed task's exception. The default calls cls(*args), which fails for
        # a constructor with keyword-only arguments.
        return type(self).__new__, (type(self), *self.args), self.__dict__


class BadRequest(MayflyError):
    """The arguments, the input or the credentials are wrong; nothing was created."""

    exit_code = 2

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: the line, and not the 70 of how it was found.

        Source: IPython, `InteractiveShell.showtraceback`.
        """
        return [f"{type(self).__name__}: {self}"]


class NotApproved(MayflyError):
    """The plan was rejected, or was not approved in time; nothing was created."""

    exit_code = 2


class RetryableError(MayflyError):
    """The same call may succeed later.

    Attributes:
        status: HTTP status, or None if there was no response.
        retry_after_s: The server's `Retry-After` in seconds, or None.
    """

    def __init__(
        self, message: str, *, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class OutcomeUnknown(RetryableError):
    """The call was sent without a response: it may have taken effect, so check before retrying."""


class Unreachable(RetryableError):
    """No connection, for a reason that waiting does not change: the host is unknown or refuses
    connections, its certificate is not trusted, or the proxy refuses.

    Before anything was created, the user has to fix that. During a run it is retried all the same,
    because an API that restarts refuses connections as well.
    """


class HardwareUnavailable(MayflyError):
    """This hardware is not available now: no capacity, a rejected create, a failed start."""


class EndpointLost(MayflyError):
    """The endpoint failed, was stopped or disappeared while the batch was running."""


class TimeToMove(EndpointLost):
    """The time in the endpoint's name is nearly over: the run has to move to another endpoint."""


class TerminalError(MayflyError):
    """Retrying the call cannot help."""


class CredentialsRefused(TerminalError):
    """The API refused the key, the project or the account (401, 402, 403)."""


class TimedOut(TerminalError):
    """A wait exceeded its time limit; the message says for what, and what was last observed."""


class RunStalled(TerminalError):
    """A run made no progress while its endpoint was billed: the output accepts no answers, or no
    row is ready to be sent.

    The answers received are kept, and written as soon as the disk responds.
    """


class RunStopped(MayflyError):
    """One of the user's limits (cost, deadline) ended the run with rows left; it can be resumed."""

    exit_code = 5


class TeardownFailed(MayflyError):
    """The endpoint could not be torn down; the message says what is billed and how to end it."""

    exit_code = 4


def as_mayfly_error(error: Exception, what: str) -> MayflyError:
    """Return an error, or for an unexpected one a `TerminalError` that says `what` failed."""
    if isinstance(error, MayflyError):
        return error
    return TerminalError(f"{what} failed: {type(error).__name__}: {error}")
