"""What can go wrong, told apart by what the caller may do about it.

MayflyError
├── BadRequest           the request itself is wrong; nothing was created (exit 2)
├── NotApproved          a person said no to the plan, or nobody said yes; nothing was created
├── RetryableError       the same call may succeed later
│   ├── OutcomeUnknown   sent, no answer: look before repeating
│   └── Unreachable      waiting does not help: unknown host, refused, certificate, proxy
├── HardwareUnavailable  this hardware cannot be had now; another may
├── EndpointLost         the endpoint failed, stopped or vanished under a running batch
│   └── TimeToMove       it stands, but the time in its name is nearly over
├── TerminalError        repeating cannot help (exit 1)
│   ├── CredentialsRefused   401, 402 or 403 from the API
│   ├── TimedOut             a wait used up its budget
│   └── RunStalled           the output takes no answers, or no row comes to be sent
├── RunStopped           a limit of the user's ended the run; it can be resumed (exit 5)
└── TeardownFailed       something may still bill (exit 4)
"""

from typing import Any

from mayfly.models.texts import printable


class MayflyError(Exception):
    """Anything that mayfly raises on purpose; the message is one line: subject, fact, next step."""

    exit_code = 1

    def __init__(self, message: object = "") -> None:
        # Messages quote servers and files.
        super().__init__(printable(message) if isinstance(message, str) else message)

    def __reduce__(self) -> tuple[Any, ...]:
        # Prefect pickles a failed task's exception; the default calls cls(*args), which breaks
        # every constructor that takes keywords only.
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
    """A person refused the plan, or nobody approved of it in time; nothing was created."""

    exit_code = 2


class RetryableError(MayflyError):
    """The same call may succeed later.

    Attributes:
        status: HTTP status, or None when no answer came.
        retry_after_s: What the server asked for, in seconds, or None.
    """

    def __init__(
        self, message: str, *, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class OutcomeUnknown(RetryableError):
    """The call was sent and no answer came: it may have taken effect, so look before repeating."""


class Unreachable(RetryableError):
    """No connection, for a reason that waiting does not change: the host is unknown or refuses,
    its certificate is not trusted, or the proxy refuses us.

    Before anything was created that is the user's to correct. Under a run it is waited for all the
    same: an API that is restarted refuses connections too.
    """


class HardwareUnavailable(MayflyError):
    """This hardware cannot be had now: no capacity, a refused create, a failed start."""


class EndpointLost(MayflyError):
    """The endpoint failed, was stopped or vanished while the batch was running."""


class TimeToMove(EndpointLost):
    """The time in the endpoint's name is nearly over: another has to take its place."""


class TerminalError(MayflyError):
    """Repeating the call cannot help."""


class CredentialsRefused(TerminalError):
    """The API refused the key, the project or the account (401, 402, 403)."""


class TimedOut(TerminalError):
    """A wait used up its budget; the message says what was awaited and what was last seen."""


class RunStalled(TerminalError):
    """A run did not move while its endpoint billed: its output takes no answers, or no row comes.

    What was answered is kept, and written as soon as the disk answers.
    """


class RunStopped(MayflyError):
    """A limit of the user's (cost, deadline) ended the run with rows left; it can be resumed."""

    exit_code = 5


class TeardownFailed(MayflyError):
    """The endpoint could not be torn down: the message says what bills and how to end it."""

    exit_code = 4
