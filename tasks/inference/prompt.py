"""A row becomes a request: template or messages in, the JSON body out."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tasks.core.errors import BadRequest
from tasks.core.failure import BAD_MESSAGES, NULL_PROMPT, TEMPLATE, Failure
from tasks.core.job import PromptSpec, Sampling
from tasks.core.rows import RowRequest

ROLES = frozenset({"system", "user", "assistant", "tool", "developer"})


class RowError(ValueError):
    """This row cannot be sent; the message says why.

    Attributes:
        kind: A class of `tasks.core.failure`.
    """

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


class Renderer:
    """Renders the rows of one job; compiled once, used for every row.

    Attributes:
        source: Where prompts come from, in words.
        needs: The columns that have to be read.
    """

    def __init__(self, prompt: PromptSpec, sampling: Sampling, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)
        self._system = prompt.system
        self._settings = _settings(sampling)
        self._content: Callable[[dict[str, Any]], Any]
        if prompt.template is not None:
            self.source = "template"
            self.needs, self._render = self._compile(prompt.template)
        else:
            column, is_chat = self._column(prompt.messages_column)
            self.source = f"column {column}"
            self.needs = (column,)
            self._render = _chat_column(column) if is_chat else _text_column(column)

    def bodies(
        self, model: str, first_row: int, columns: dict[str, list[Any]], rows: int
    ) -> Iterator[RowRequest]:
        """Yield a request for each row of a chunk; a row that cannot be sent carries its error.

        Args:
            model: What the endpoint is called in a request.
            columns: For each of `needs`, one value per row.
        """
        head = b'{"model":' + orjson.dumps(model) + b',"messages":['
        if self._system is not None:
            head += orjson.dumps({"role": "system", "content": self._system}) + b","
        tail = b"]" + self._settings + b"}"
        render = self._render
        names = tuple(columns)
        values = zip(*columns.values(), strict=True) if columns else (() for _ in range(rows))
        for row, cells in enumerate(values, first_row):
            try:
                messages = render(dict(zip(names, cells, strict=True)))
            except RowError as error:
                yield RowRequest(row, b"", str(Failure(error.kind, str(error))))
            except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
                words = f"{type(error).__name__}: {error}"
                yield RowRequest(row, b"", str(Failure(TEMPLATE, words)))
            else:
                yield RowRequest(row, head + messages + tail)

    def _compile(self, text: str) -> tuple[tuple[str, ...], Callable[[dict[str, Any]], bytes]]:
        environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True
        )
        try:
            used = meta.find_undeclared_variables(environment.parse(text))
            template = environment.from_string(text)
        except TemplateSyntaxError as error:
            raise BadRequest(
                f"prompt template, line {error.lineno}: {error.message}; "
                f"the columns are {', '.join(self._columns)}"
            ) from error
        known = set(self._columns) | set(environment.globals)
        if unknown := sorted(used - known):
            raise BadRequest(
                f"prompt template uses {', '.join(unknown)}, which the input does not have; "
                f"its columns are {', '.join(self._columns)}"
            )
        needs = tuple(name for name in self._columns if name in used)
        # A template of one bare column needs no template engine; this is the common case.
        if len(needs) == 1 and text.replace(" ", "") == "{{" + needs[0] + "}}":
            return needs, _text_column(needs[0])

        def render(cells: dict[str, Any]) -> bytes:
            missing = [name for name, value in cells.items() if value is None]
            if missing and len(missing) == len(cells):
                raise RowError(NULL_PROMPT, f"column {missing[0]} is null")
            return _user(template.render(cells))

        return needs, render

    def _column(self, named: str | None) -> tuple[str, bool]:
        if named is not None:
            if named not in self._columns:
                raise BadRequest(
                    f"--messages-column {named}: there is no such column; "
                    f"the columns are {', '.join(self._columns)}"
                )
            return named, True
        for name, is_chat in (("messages", True), ("prompt", False)):
            if name in self._columns:
                return name, is_chat
        raise BadRequest(
            "the input has neither a messages nor a prompt column; give --prompt, "
            f"a template over its columns: {', '.join(self._columns)}"
        )


def _settings(sampling: Sampling) -> bytes:
    """Return what follows the messages in every body."""
    settings: dict[str, Any] = {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
    }
    if sampling.json_schema is not None:
        # Source: Together API, chat completions, response_format.
        settings["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": sampling.json_schema, "strict": True},
        }
    given = {name: value for name, value in settings.items() if value is not None}
    return b"," + orjson.dumps(given)[1:-1] if given else b""


def _user(text: str) -> bytes:
    try:
        return b'{"role":"user","content":' + orjson.dumps(text) + b"}"
    except TypeError as error:  # Half of a surrogate pair has no UTF-8.
        raise RowError(TEMPLATE, "prompt is not valid Unicode") from error


def _text_column(column: str) -> Callable[[dict[str, Any]], bytes]:
    def render(cells: dict[str, Any]) -> bytes:
        value = cells[column]
        if value is None:
            raise RowError(NULL_PROMPT, f"column {column} is null")
        return _user(value if type(value) is str else str(value))

    return render


def _chat_column(column: str) -> Callable[[dict[str, Any]], bytes]:
    def render(cells: dict[str, Any]) -> bytes:
        value = cells[column]
        if value is None:
            raise RowError(NULL_PROMPT, f"column {column} is null")
        if isinstance(value, str | bytes):
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError as error:
                raise RowError(BAD_MESSAGES, f"not JSON: {error}") from error
        if not isinstance(value, list) or not value:
            raise RowError(BAD_MESSAGES, "not a list of role and content")
        return b",".join(map(_message, value))

    return render


def _message(message: Any) -> bytes:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise RowError(BAD_MESSAGES, f"a message needs a role of {', '.join(sorted(ROLES))}")
    # A struct column has every field in every message; what is null was not said.
    said = {name: value for name, value in message.items() if value is not None}
    if "content" not in said and "tool_calls" not in said:
        raise RowError(BAD_MESSAGES, "a message has no content")
    return orjson.dumps(said)
