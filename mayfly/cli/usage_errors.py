"""Messages for invalid command lines: one line that suggests a correction."""

from collections.abc import Iterable

from cyclopts import (
    App,
    Argument,
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    ValidationError,
)
from cyclopts.exceptions import UnusedCliTokensError

from mayfly.models.nearest import nearest, one_of


def message_of(error: CycloptsError) -> str:
    """Return the message for a usage error."""
    command = " ".join(["mayfly", *(error.command_chain or ())])
    if isinstance(error, UnknownCommandError):
        return _unknown_command(error, command)
    if isinstance(error, UnknownOptionError):
        given = error.token.keyword or error.token.value
        return _unknown_option(given, _names(error.argument_collection), command)
    if isinstance(error, MissingArgumentError):
        return _missing(error, command)
    if isinstance(error, UnusedCliTokensError):
        first = (error.unused_tokens or [""])[0]
        return (
            f"unexpected argument {first!r}; quote a pattern such as 'data/*.parquet', and a text "
            f"with spaces; see {command} --help"
        )
    if isinstance(error, ValidationError) and error.argument is not None:
        return f"{_shown(error.argument)} {error.exception_message}; see {command} --help"
    return f"{str(error).rstrip('.')}; see {command} --help"


def _shown(argument: Argument) -> str:
    """Return an argument's name as help shows it."""
    name = argument.name
    return name.lstrip("-").upper() if argument.field_info.is_positional else name


def _unknown_command(error: UnknownCommandError, command: str) -> str:
    given = (error.unused_tokens or [""])[0]
    known = [] if error.app is None else _commands(error.app)
    near = nearest(given, known)
    return f"{given!r} is not a command of {command}{near or f'; give {one_of(known)}'}"


def _commands(app: App) -> list[str]:
    return [name for name in app if not name.startswith("-")]


def _unknown_option(given: str, known: Iterable[str], command: str) -> str:
    near = nearest(given, known)
    return f"{given} is not an option of {command}{near or f'; see {command} --help'}"


def _missing(error: MissingArgumentError, command: str) -> str:
    """Return the message for a missing argument, or for a mistyped option if there is one."""
    argument = error.argument
    assert argument is not None  # noqa: S101 - the missing argument
    known = _names(error.app.assemble_argument_collection()) if error.app is not None else []
    for token in error.unused_tokens or ():
        given = token.partition("=")[0]
        if given.startswith("--") and given not in known:
            return _unknown_option(given, known, command)
    if error.keyword is not None and not argument.field_info.is_positional:
        return f"{error.keyword} needs a value; see {command} --help"
    return f"{command} needs {_shown(argument)}; see {command} --help"


def _names(arguments: Iterable[Argument]) -> list[str]:
    return [name for argument in arguments for name in argument.names if name.startswith("--")]
