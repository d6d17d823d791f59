"""The options of `run` and `plan`, generated from the fields of a job."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Group, Parameter

from mayfly.models.errors import BadRequest
from mayfly.models.job import Job
from mayfly.models.job_reference import Setting, as_option, make_job, setting, settings
from mayfly.nearby_files import nearest_file
from mayfly.storage.uri_credentials import conceal

GROUPS = {
    name: Group(name, sort_key=number)
    for number, name in enumerate(["Prompt", "Sampling", "Hardware", "Limits", "Rows", "Run"])
}
RUN = GROUPS["Run"]
ARGUMENTS = "Arguments"
"""The name of the group that cyclopts makes for positional arguments."""
OPTIONS = Group("Options", sort_key=9)
"""Of the commands that have no groups of options."""

T = TypeVar("T")


def flag(group: Group, text: str) -> Parameter:
    """Return the parameter of a switch without a `--no-` form."""
    return Parameter(group=group, help=text, negative=())


def parameter(path: str, *, group: Group | None = None) -> Parameter:
    """Return the parameter of a job field; `group` overrides its group in help."""
    return _parameter(setting(path), group)


def _parameter(each: Setting, group: Group | None = None) -> Parameter:
    return Parameter(
        name=None if each.option is None else each.option.flag,
        group=group or (ARGUMENTS if each.option is None else GROUPS[each.group]),
        help=each.help,
        negative=(),
        # A prompt may begin with a Markdown list or rule.
        allow_leading_hyphen=_is_prose(each),
        # The option itself has no default, so that the job knows which options were given.
        show_default=(lambda _unset: each.default) if each.default else False,
    )


def _is_prose(each: Setting) -> bool:
    return each.option is not None and each.option.metavar in ("TEMPLATE", "TEXT")


def metavars() -> dict[str, str]:
    """Return the metavar of each option, by flag."""
    return {
        each.option.flag: each.option.metavar
        for each in settings()
        if each.option is not None and each.option.metavar
    }


def _with_options(cls: type[T]) -> type[T]:
    """Add a field to a class for each job option that it does not define itself."""
    for each in settings():
        option = each.option
        if option is None or option.keyword in ("model", "output"):
            continue
        kind: Any = str | None
        default: object = None
        if each.is_switch:
            kind, default = bool, False
        elif option.repeated:
            kind, default = tuple[str, ...], ()
        cls.__annotations__[option.keyword] = Annotated[kind, _parameter(each)]
        setattr(cls, option.keyword, default)
    return dataclass(frozen=True, kw_only=True)(cls)


@Parameter(name="*")
@_with_options
class JobOptions:
    """Options of `run` and `plan`: the model, `--local`, and an option for each job field."""

    model: Annotated[str, parameter("model")]
    local: Annotated[
        bool, flag(RUN, "Use the local emulator: no API key, no cost, generated answers.")
    ] = False

    if TYPE_CHECKING:

        def __init__(self, *, model: str, local: bool = False, **options: Any) -> None: ...

    def job(self, input: str, output: str) -> Job:  # noqa: A002 - the contract's word
        """Return the job of the options (BadRequest if they are invalid)."""
        given = {
            each.keyword: _read(each, getattr(self, each.keyword))
            for each in settings()
            if each.keyword not in ("data", "output")
        }
        return make_job(conceal(input, os.environ), output, given, spell=as_option)


def _read(each: Setting, given: object) -> object:
    """Return an option's value; for a file option, the JSON in the file."""
    metavar = "" if each.option is None else each.option.metavar
    if _is_prose(each):
        for text in (
            [given] if isinstance(given, str) else given if isinstance(given, tuple) else ()
        ):
            if text in _flags():
                raise BadRequest(f"{each.name} needs a value, and {text} is an option")
    if not isinstance(given, str) or "FILE" not in metavar:
        return given
    if given in ("", "@"):
        raise BadRequest(f"{each.name} must not be empty")
    if metavar == "FILE":
        return read_json(each.name, Path(given))
    return read_json(each.name, Path(given[1:])) if given.startswith("@") else given


def _flags() -> set[str]:
    return {each.name for each in settings()} | {"--local", "--yes", "--json", "--help"}


def read_json(name: str, path: Path) -> object:
    """Return the JSON in a file that an option names.

    Raises:
        BadRequest: It cannot be read, or is not JSON; one line says which option names it.
    """
    try:
        text = path.expanduser().read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise BadRequest(f"{name} {path} does not exist{nearest_file(path)}") from error
    except OSError as error:
        raise BadRequest(f"{name} {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadRequest(f"{name} {path} is not text in UTF-8") from error
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadRequest(f"{name} {path} is not JSON: {error}") from error
