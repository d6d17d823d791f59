"""A row becomes a request: template, messages or text in, the JSON body out."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson

from mayfly.inference.batch_requests import (
    BODY,
    as_requests,
    embedding_text,
    keeps_of,
    path_of,
    request_fields,
)
from mayfly.inference.responses import read_completion, read_embeddings, read_text
from mayfly.inference.row_stream import ReadReply
from mayfly.inference.template import TEMPLATE_ERRORS, Template
from mayfly.models.batch_lines import BatchLines
from mayfly.models.errors import BadRequest
from mayfly.models.failures import BAD_MESSAGES, NULL_PROMPT, TEMPLATE, Failure
from mayfly.models.job import PromptSpec, Sampling
from mayfly.models.nearest import nearest
from mayfly.models.rows import RowRequest

ROLES = frozenset({"system", "user", "assistant", "tool", "developer"})

Cells = dict[str, Any]


class RowError(ValueError):
    """This row cannot be sent; the message says why.

    Attributes:
        kind: A class of `mayfly.models.failures`.
    """

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


class Frame(NamedTuple):
    """What every body of a job begins and ends with; what lies between is the row's own."""

    head: bytes
    tail: bytes

    def content(self, body: bytes) -> bytes:
        """Return the row's own part of a body: the same on whatever endpoint it is sent to."""
        return body[len(self.head) : len(body) - len(self.tail)]


class Renderer:
    """Renders the rows of one job; compiled once, used for every row.

    Attributes:
        source: Where prompts come from, in words.
        needs: The columns that have to be read.
        path: What requests are posted to, below the inference URL.
        embeds: Whether rows are texts to embed, of which a request carries many.
        read: Makes an answer of the body of a 200.
    """

    path: str
    read: ReadReply
    needs: tuple[str, ...]

    def __init__(
        self,
        prompt: PromptSpec,
        sampling: Sampling,
        columns: Sequence[str],
        *,
        requests: BatchLines | None = None,
    ) -> None:
        """Compile the prompt.

        Args:
            requests: What the rows have in common, where they are OpenAI-batch requests.
        """
        self._columns = tuple(columns)
        shown, wanted = as_requests(prompt, sampling, requests)
        self.embeds = shown.embed_column is not None
        if requests is not None:
            self.source, self.needs = "the requests themselves", (BODY,)
            text: Callable[[Cells], Any] = _embedded_body
        else:
            text, self._chat = self._source(prompt)
        if requests is not None and not self.embeds:
            self.path = path_of(requests)
            read = read_text if shown.completions else read_completion
            self.read = partial(read, keeps=keeps_of(wanted))
            self._before, self._after = b",", b"}"
            self._render = request_fields(settings_of(sampling))
        elif self.embeds:
            self.path, self.read = "embeddings", read_embeddings
            self._before, self._after = b',"input":[', b"]}"
            self._render = _wrapped(text, _string)
        elif prompt.completions:
            self.path, self.read = "completions", read_text
            self._before, self._after = b',"prompt":', _settings(sampling) + b"}"
            self._render = _wrapped(text, _string)
        else:
            self.path, self.read = "chat/completions", read_completion
            self._before, self._after = b',"messages":[', b"]" + _settings(sampling) + b"}"
            if prompt.system is not None:
                system = {"role": "system", "content": prompt.system}
                self._before += orjson.dumps(system) + b","
            self._render = text if self._chat else _wrapped(text, _user)

    def frame(self, model: str) -> Frame:
        """Return what every body has around the row's own part.

        Args:
            model: What the endpoint is called in a request.
        """
        return Frame(b'{"model":' + orjson.dumps(model) + self._before, self._after)

    def bodies(
        self, model: str, first_row: int, columns: dict[str, list[Any]], rows: int
    ) -> Iterator[RowRequest]:
        """Yield a request for each row of a chunk; a row that cannot be sent carries its error.

        Args:
            model: What the endpoint is called in a request.
            columns: For each of `needs`, one value per row.
        """
        head, tail = self.frame(model)
        render = self._render
        names = tuple(columns)
        values = zip(*columns.values(), strict=True) if columns else (() for _ in range(rows))
        for row, cells in enumerate(values, first_row):
            try:
                content = render(dict(zip(names, cells, strict=True)))
            except RowError as error:
                yield RowRequest(row, b"", Failure(error.kind, str(error)))
            except TEMPLATE_ERRORS as error:
                words = f"{type(error).__name__}: {error}"
                yield RowRequest(row, b"", Failure(TEMPLATE, words))
            else:
                yield RowRequest(row, head + content + tail)

    def _source(self, prompt: PromptSpec) -> tuple[Callable[[Cells], Any], bool]:
        """Return what makes a row's text, or its messages as JSON, and whether it is those."""
        if prompt.template is not None:
            return self._template(prompt.template), False
        if prompt.embed_column is not None:
            name, is_chat = self._known("--embed", prompt.embed_column), False
        elif prompt.messages_column is not None:
            name, is_chat = self._known("--messages-column", prompt.messages_column), True
        else:
            name, is_chat = self._usual_column(chat=not prompt.completions)
        self.source = f"column {name}"
        self.needs = (name,)
        return (_chat_column(name) if is_chat else _text_column(name)), is_chat

    def _template(self, text: str) -> Callable[[Cells], str]:
        template = Template(text, self._columns)
        self.source, self.needs = "template", template.needs
        # A template of one bare column needs no template engine; this is the common case.
        if len(self.needs) == 1 and text.replace(" ", "") == "{{" + self.needs[0] + "}}":
            return _text_column(self.needs[0])

        def render(cells: Cells) -> str:
            for value in cells.values():
                if value is not None:
                    break
            else:
                if cells:
                    raise RowError(NULL_PROMPT, f"column {next(iter(cells))} is null")
            return template.render(cells)

        return render

    def _known(self, option: str, name: str) -> str:
        if name not in self._columns:
            raise BadRequest(
                f"{option} {name}: the input has no such column{nearest(name, self._columns)}; "
                f"its columns are {', '.join(self._columns)}"
            )
        return name

    def _usual_column(self, *, chat: bool) -> tuple[str, bool]:
        for name, is_chat in (("messages", True), ("prompt", False)):
            if name in self._columns and (chat or not is_chat):
                return name, is_chat
        lacks = "neither a messages nor a prompt column" if chat else "no prompt column"
        raise BadRequest(
            f"the input has {lacks}; give --prompt, a template over its columns: "
            f"{', '.join(self._columns)}"
        )


def _settings(sampling: Sampling) -> bytes:
    """Return what follows the prompt in every body."""
    given = settings_of(sampling)
    return b"," + orjson.dumps(given)[1:-1] if given else b""


def settings_of(sampling: Sampling) -> dict[str, Any]:
    """Return the fields that the options add to every request."""
    settings: dict[str, Any] = {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
    }
    if (schema := sampling.schema_value()) is not None:
        # Source: Together API, chat completions, response_format.
        settings["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        }
    return {name: value for name, value in settings.items() if value is not None}


def _wrapped(
    text: Callable[[Cells], str], wrap: Callable[[str], bytes]
) -> Callable[[Cells], bytes]:
    def render(cells: Cells) -> bytes:
        return wrap(text(cells))

    return render


def _string(text: str) -> bytes:
    try:
        return orjson.dumps(text)
    except TypeError as error:  # Half of a surrogate pair has no UTF-8.
        raise RowError(TEMPLATE, "prompt is not valid Unicode") from error


def _user(text: str) -> bytes:
    return b'{"role":"user","content":' + _string(text) + b"}"


def _embedded_body(cells: Cells) -> str:
    text = embedding_text(cells)
    if text is None:
        raise RowError(NULL_PROMPT, "body has no input")
    return text


def _text_column(column: str) -> Callable[[Cells], str]:
    def render(cells: Cells) -> str:
        value = cells[column]
        if value is None:
            raise RowError(NULL_PROMPT, f"column {column} is null")
        return value if type(value) is str else str(value)

    return render


def _chat_column(column: str) -> Callable[[Cells], bytes]:
    def render(cells: Cells) -> bytes:
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
