"""Base class and helpers for the groups of a job's fields: option names and readable errors.

A field's title, description, default and bounds are written once, at the field; the command line,
the form and the reference page are generated from them (`mayfly.models.job_reference`).

An error names fields by placeholders such as `{limits.max_cost_usd}`, which are replaced by the
name that the reader knows: an option, a keyword or the title in the form (`problem_of`).
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from mayfly.models.nearest import nearest, one_of

MAX_SHOWN_CHARS = 60
"""Characters of an invalid value that an error quotes."""

NO_FIELDS = "must be an object with named fields"

_PLACEHOLDER = re.compile(r"\{([a-z_]+(?:\.[a-z_]+)?)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """The command-line option of a field.

    Attributes:
        flag: The option, with its dashes.
        metavar: Placeholder of its value in help; empty for a switch.
        repeated: Whether it may be given more than once.
        switches_off: Whether the option sets the field to false.
        group: Heading in help, if it differs from that of the field's group.
    """

    flag: str
    metavar: str = ""
    repeated: bool = False
    switches_off: bool = False
    group: str = ""

    @property
    def keyword(self) -> str:
        """The name of the keyword argument in Python."""
        return self.flag.removeprefix("--").replace("-", "_")


def option(
    flag: str,
    metavar: str = "",
    *,
    repeated: bool = False,
    switches_off: bool = False,
    group: str = "",
) -> Option:
    """Return the annotation that gives a field its option; see `Option`."""
    return Option(
        flag=flag, metavar=metavar, repeated=repeated, switches_off=switches_off, group=group
    )


def wrong(problem: str) -> PydanticCustomError:
    """Return the error for invalid fields, to be raised by a validator.

    Args:
        problem: One line that names fields as `{field}`, relative to the model that raises it.
    """
    return PydanticCustomError("job", "{problem}", {"problem": problem, "problems": [problem]})


def problem_of(error: ValidationError, spell: Callable[[str], str]) -> str:
    """Return the first error of a job, in one line.

    Args:
        spell: Returns a field's name for the reader, by its path such as `limits.max_cost_usd`;
            KeyError if there is no such field.
    """
    return spelled(problems_of(error)[0], spell)


def spelled(problem: str, spell: Callable[[str], str]) -> str:
    """Return a problem with each placeholder replaced by a field's name."""

    def name(match: re.Match[str]) -> str:
        try:
            return spell(match[1])
        except KeyError:
            return match[0]

    return _PLACEHOLDER.sub(name, problem)


def problems_of(error: ValidationError, model: "type[BaseModel] | None" = None) -> list[str]:
    """Return all errors, each in one line with placeholders for fields."""
    found: list[str] = []
    for detail in error.errors(include_url=False):
        where = ".".join(str(part) for part in detail["loc"])
        inner = detail.get("ctx", {}).get("problems")
        if inner is not None:
            found += [_below(where, problem) for problem in inner]
        else:
            found.append(_native(detail, model))
    return found


def _below(where: str, problem: str) -> str:
    if not where:
        return problem
    if problem == NO_FIELDS:
        return f"{{{where}}} {problem}"
    return _PLACEHOLDER.sub(rf"{{{where}.\1}}", problem)


def _native(detail: Mapping[str, Any], model: "type[BaseModel] | None") -> str:
    """Return one of pydantic's own errors as a message of ours."""
    path = [str(part) for part in detail["loc"]]
    if not path:
        return NO_FIELDS
    name = path[0]
    field = None if model is None else model.model_fields.get(name)
    if detail["type"] == "extra_forbidden":
        near = nearest(name, [] if model is None else list(model.model_fields))
        return f"{name!r} is not a field{near}"
    subject = f"{{{name}}}"
    if detail["type"] == "missing":
        return f"{subject} is missing"
    if detail["type"] == "value_error":
        return f"{subject} {detail['msg'].removeprefix('Value error, ')}"
    if detail["type"] == "string_too_short":
        return f"{subject} must not be empty"
    allowed = _allowed(detail, field)
    return f"{subject} must be {allowed}{_not(detail.get('input'), field)}"


def _not(given: object, field: FieldInfo | None) -> str:
    """Return the end of a message: the value given, and the nearest valid choice."""
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        return ""
    text = str(given)
    if len(text) > MAX_SHOWN_CHARS:
        text = f"{text[:MAX_SHOWN_CHARS]}..."
    shown = repr(text) if isinstance(given, str) and not _is_number(text) else text
    return f", not {shown}{nearest(text, [] if field is None else list(choices(field)))}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _allowed(detail: Mapping[str, Any], field: FieldInfo | None) -> str:
    kind, limits = detail["type"], detail.get("ctx", {})
    if kind == "literal_error" and field is not None:
        return one_of(choices(field))
    if kind == "string_pattern_mismatch" and field is not None:
        # The metavar of a field with a pattern lists what the pattern accepts.
        return one_of(option_of(field).metavar.split("|"))
    sizes = {
        "greater_than": "more than {gt}",
        "greater_than_equal": "at least {ge}",
        "less_than": "less than {lt}",
        "less_than_equal": "at most {le}",
    }
    if kind in sizes:
        return sizes[kind].format(**{key: _number(value) for key, value in limits.items()})
    for beginning, words in (
        ("int", "a whole number"),
        ("float", "a number"),
        ("finite_number", "a finite number"),
        ("bool", "true or false"),
        ("string_unicode", "text in UTF-8"),
        ("string", "text"),
        ("tuple", "a list of texts"),
        ("dict", "KEY=VALUE"),
    ):
        if kind.startswith(beginning):
            return words
    return "another value"


def _number(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def option_of(field: FieldInfo) -> Option:
    """Return a field's option (KeyError when it has none)."""
    for mark in field.metadata:
        if isinstance(mark, Option):
            return mark
    raise KeyError(field.title)


def choices(field: FieldInfo) -> tuple[str, ...]:
    """Return the allowed values of a field; empty if they are not a fixed set."""
    return tuple(_literals(field.annotation))


def _literals(kind: object) -> Iterator[str]:
    if get_origin(kind) is Literal:
        yield from (str(value) for value in get_args(kind))
    elif get_args(kind):
        for inner in get_args(kind):
            yield from _literals(inner)


class JobPart(BaseModel):
    """A group of fields: frozen, without unknown names, and with readable errors."""

    # Its validator is built for the first job: most commands read the texts of the fields only.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @model_validator(mode="wrap")
    @classmethod
    def _in_plain_words(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(given)
        except ValidationError as error:
            problems = problems_of(error, cls)
            raise PydanticCustomError(
                "job",
                "{problem}",
                {"problem": spelled(problems[0], cls.title_of), "problems": problems},
            ) from error

    @classmethod
    def title_of(cls, path: str) -> str:
        """Return a field's title without its unit, for errors that the user of a form reads."""
        name, _, rest = path.partition(".")
        field = cls.model_fields[name]
        if rest and isinstance(field.annotation, type) and issubclass(field.annotation, JobPart):
            return field.annotation.title_of(rest)
        return (field.title or name).partition(" (")[0]

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the schema for forms, in which an optional field is only not required.

        An unset option is None in Python, which a form would offer as a type of its own.
        """
        schema = handler.resolve_ref_schema(handler(core_schema))
        for field in schema.get("properties", {}).values():
            kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
            if len(kinds) == 1:
                del field["anyOf"]
                field.update(kinds[0] | field)
            if field.get("default", ...) is None:
                del field["default"]
        return schema


def parameter(model: type[JobPart], name: str) -> Any:
    """Return a field as the default of a flow's parameter, with its texts for the form.

    For a group the schema's default is `{}`, so that a form sends only what the user has filled in.
    The actual defaults hold nulls and numbers of seconds, which the form's own fields reject.
    """
    field = model.model_fields[name]
    # Prefect takes the parameter's name as the title, unless the extra schema has one.
    extra: dict[str, Any] = {"title": field.title}
    if isinstance(field.json_schema_extra, dict):
        extra.update(field.json_schema_extra)
    description = field.description
    if isinstance(field.default, JobPart):
        extra["default"] = {}
        description = inspect.cleandoc(type(field.default).__doc__ or "")
    return Field(default=field.default, description=description, json_schema_extra=extra)
