"""All settings of a job as one table: for the command line, Python and the reference page.

The texts, defaults and bounds are those of the job's fields; none is written here.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from mayfly.models.errors import BadRequest
from mayfly.models.job import Job
from mayfly.models.job_fields import JobPart, Option, choices, option_of, problem_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting of a job, as users see it.

    Attributes:
        path: Path of the field in the job, such as `limits.max_cost_usd`.
        group: Heading under which it is shown: Prompt, Sampling, Hardware, Limits, Rows or Run.
        option: Its option; None for the input, which is positional.
        title: Label in the form.
        description: What it does, in one text for all interfaces.
        default: Default as users write it; empty if unset, or off.
        choices: Allowed values, if they are a fixed set.
        required: Whether it has no default.
    """

    path: str
    group: str
    option: Option | None
    title: str
    description: str
    default: str
    choices: tuple[str, ...]
    required: bool

    @property
    def name(self) -> str:
        """The name on the command line."""
        return "INPUT" if self.option is None else self.option.flag

    @property
    def keyword(self) -> str:
        """The name in Python."""
        return "data" if self.option is None else self.option.keyword

    @property
    def help(self) -> str:
        """The description for a command line."""
        repeated = self.option is not None and self.option.repeated
        return f"{self.description} May be repeated." if repeated else self.description

    @property
    def is_switch(self) -> bool:
        """Whether its option takes no value."""
        return self.option is not None and not self.option.metavar


@cache
def settings() -> tuple[Setting, ...]:
    """Return every setting, group by group."""
    order = ["Prompt", "Sampling", "Hardware", "Limits", "Rows", "Run"]
    return tuple(sorted(_walk(Job, "", ""), key=lambda setting: order.index(setting.group)))


def _walk(model: type[JobPart], path: str, group: str) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, JobPart):
            yield from _walk(inner, f"{path}{name}.", field.title or name)
            continue
        option = None if name == "input" else option_of(field)
        yield Setting(
            path=f"{path}{name}",
            group=(option and option.group) or group or "Prompt",
            option=option,
            title=field.title or name,
            description=field.description or "",
            default=_default(field, option),
            choices=choices(field),
            required=field.is_required(),
        )


def _default(field: FieldInfo, option: Option | None) -> str:
    if field.is_required() or option is None or not option.metavar:
        return ""
    # A number of seconds has a text for the form, such as 45m.
    extra = field.json_schema_extra
    value = extra.get("default") if isinstance(extra, dict) else None
    value = value or field.default
    if value is None:
        return "auto" if option.metavar.startswith("auto|") else ""
    return "" if value in ((), {}, []) else str(value)


@cache
def _by_keyword() -> Mapping[str, Setting]:
    return {setting.keyword: setting for setting in settings()}


def setting(path: str) -> Setting:
    """Return the setting of a field (KeyError if there is none)."""
    return {each.path: each for each in settings()}[path]


def as_option(path: str) -> str:
    """Return a field's name on the command line."""
    return setting(path).name


def as_keyword(path: str) -> str:
    """Return a field's name in Python."""
    return setting(path).keyword


def make_job(
    data: str, output: str, options: Mapping[str, Any], *, spell: Callable[[str], str]
) -> Job:
    """Return the job for the given options.

    Args:
        options: By keyword; None, empty and false values keep the default.
        spell: Names a field for the reader of an error: `as_option` or `as_keyword`.

    Raises:
        BadRequest: An option is invalid; the message names it and says what to do.
    """
    values: dict[str, Any] = {"input": data, "output": output}
    for keyword, given in options.items():
        if given is None or given is False or given in ((), []):
            continue
        each = _by_keyword()[keyword]
        part, _, name = each.path.rpartition(".")
        off = each.option is not None and each.option.switches_off
        (values.setdefault(part, {}) if part else values)[name] = False if off else given
    try:
        return Job.model_validate(values)
    except ValidationError as error:
        raise BadRequest(problem_of(error, spell)) from error
