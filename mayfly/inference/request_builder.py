"""Build the JSON body of a row's request from a template, messages or text."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from mayfly.inference.batch_requests import (
    BODY,
    as_requests,
    embedding_text,
    keeps_of,
    path_of,
    request_fields,
)
from mayfly.inference.cell_text import BadCell, JsonDict, JsonList, RowError, usable
from mayfly.inference.chat_messages import is_messages, messages, user_message
from mayfly.inference.files_ahead import FilesAhead, PrepareFile
from mayfly.inference.large_blocks import give_large_blocks_back
from mayfly.inference.media import (
    PART_BYTES,
    ReadFile,
    media_columns,
    named_files,
    no_files,
    row_parts,
)
from mayfly.inference.request_fields import as_members, fields_of, with_row
from mayfly.inference.responses import Read, read_completion, read_embeddings, read_text
from mayfly.inference.row_stream import ReadReply
from mayfly.models.batch_lines import BatchLines
from mayfly.models.errors import BadRequest
from mayfly.models.failures import BAD_BODY, BAD_CELL, NULL_PROMPT, TEMPLATE, Failure
from mayfly.models.job import PromptSpec, Sampling
from mayfly.models.nearest import nearest
from mayfly.models.rows import RowRequest

MESSAGES, PROMPT = "messages", "prompt"

TEMPLATE_BATCH_ROWS = 16
"""Rows that a template renders at once."""

if TYPE_CHECKING:
    from mayfly.inference.template import Pattern, Template

Cells = dict[str, Any]
Columns = dict[str, list[Any]]
Prompts = Callable[[Columns, int], Iterator[Any]]
"""(columns, rows) -> for each row its text or messages, or a RowError."""

Wrap = Callable[[Any], bytes]


class Frame(NamedTuple):
    """The common beginning and end of all bodies of a job; the row's own part is in between."""

    head: bytes
    tail: bytes

    def content(self, body: bytes) -> bytes:
        """Return the row's own part of a body, which does not depend on the endpoint."""
        return body[len(self.head) : len(body) - len(self.tail)]


class Renderer:
    """Builds the requests of one job; compiled once, used for every row.

    Attributes:
        source: Description of the source of the prompts.
        needs: The columns to read.
        path: Path of the requests, below the inference URL.
        embeds: Whether rows are texts to embed, several of which share a request.
        read: Parses the body of a 200.
    """

    path: str
    read: ReadReply
    needs: tuple[str, ...]
    _wrap: Wrap
    _prompts: Prompts

    def __init__(
        self,
        prompt: PromptSpec,
        sampling: Sampling,
        columns: Sequence[str],
        *,
        requests: BatchLines | None = None,
        read_file: ReadFile = no_files,
        prepare_file: PrepareFile = lambda _name, _most: None,
    ) -> None:
        """Compile the prompt.

        Args:
            requests: Properties of the rows if they are OpenAI-batch requests.
            read_file: Reads the file that a cell with images, sound or videos names.
            prepare_file: Returns a function that reads such a file ahead of its row.
        """
        self._prepare_file = prepare_file
        self._columns = tuple(columns)
        self._media, self._read_file = media_columns(prompt), read_file
        prompt_shown, wanted = as_requests(prompt, sampling, requests)
        self.embeds = prompt_shown.embed_column is not None
        fields = fields_of(prompt, sampling)
        if requests is not None:
            self.source, self.needs = "the requests themselves", (BODY,)
            self._prompts, wrap = _bodies, request_fields(fields)
        else:
            self._prompts, wrap = self._source(prompt)
        self._need_media(of_lines=requests is not None)
        keeps = keeps_of(wanted)
        self._before, after = b"", b"]}"
        self._body_column = sampling.body_column
        if self.embeds:
            self.path, self.read = "embeddings", read_embeddings
            opening, self._wrap = b',"input":[', _string
            if requests is not None:
                self._prompts = _embedded_texts
        elif requests is not None:
            self.path, self._wrap = path_of(requests), wrap
            read = read_text if prompt_shown.completions else read_completion
            self.read = _keeping(read, keeps)
            # A line's own fields are already merged with those of the options.
            opening, after, fields = b",", b"}", {}
            self._body_column = None
        elif prompt.completions:
            self.path, self.read = "completions", _keeping(read_text, keeps)
            opening, after = b',"prompt":', b"}"
            self._wrap = _string
        else:
            self.path, self.read = "chat/completions", _keeping(read_completion, keeps)
            opening = b',"messages":['
            if prompt.system is not None:
                opening += orjson.dumps({"role": "system", "content": prompt.system}) + b","
            self._wrap = wrap
        if self._body_column is None:
            self._before, self._after = opening, after[:-1] + as_members(fields) + b"}"
        else:
            self._own_fields(fields, opening)
            self._after = after

    def _need_media(self, *, of_lines: bool) -> None:
        """Add the columns with images, sound and videos to those that are read."""
        for media in self._media:
            if of_lines:
                raise BadRequest(
                    f"{media.option} {media.name}: the input's lines are complete requests; put "
                    "images, sound and videos in their messages"
                )
            name = self._known(media.option, media.name)
            self.needs = (*self.needs, name) if name not in self.needs else self.needs
        if self._media:
            give_large_blocks_back()

    def _own_fields(self, fields: dict[str, Any], opening: bytes) -> None:
        """Let each row have its own request fields, which come before its prompt."""
        column = self._known("--body-column", self._body_column or "")
        if self.embeds:
            raise BadRequest(
                "--body-column cannot be combined with --embed, because rows share requests; "
                "leave one of them out"
            )
        if column not in self.needs:
            self.needs = (*self.needs, column)
        self._fields, self._opening = fields, opening

    def frame(self, model: str) -> Frame:
        """Return what surrounds the row's own part in every body.

        Args:
            model: The `model` of the requests.
        """
        return Frame(b'{"model":' + orjson.dumps(model) + self._before, self._after)

    def bodies(
        self, model: str, first_row: int, columns: dict[str, list[Any]], rows: int
    ) -> Iterator[RowRequest]:
        """Yield a request for each row of a chunk; one that cannot be sent has a failure.

        Args:
            model: The `model` of the requests.
            columns: For each of `needs`, one value per row.
        """
        head, tail = self.frame(model)
        own = None if self._body_column is None else columns.get(self._body_column)
        texts = self._prompts(columns, rows)
        if not self._media:
            yield from self._rendered(head, tail, texts, columns, own, first_row, self._read_file)
            return
        names = named_files(self._media, columns, rows)
        files = FilesAhead(names, self._read_file, self._prepare_file, PART_BYTES)
        try:
            yield from self._rendered(head, tail, texts, columns, own, first_row, files.read)
        finally:
            files.close()

    def _rendered(
        self,
        head: bytes,
        tail: bytes,
        texts: Iterable[Any],
        columns: dict[str, list[Any]],
        own: list[Any] | None,
        first_row: int,
        read_file: ReadFile,
    ) -> Iterator[RowRequest]:
        for row, text in enumerate(texts, first_row):
            try:
                if isinstance(text, RowError):
                    raise text
                content = (
                    self._wrap(text)
                    if not self._media
                    else self._with_media(text, columns, row - first_row, read_file)
                )
                if own is not None:
                    fields = with_row(self._fields, own[row - first_row])
                    content = as_members(fields) + self._opening + content
            except RowError as error:
                yield RowRequest(row, b"", Failure(error.kind, str(error)))
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                message = f"{type(error).__name__}: {error}"
                yield RowRequest(row, b"", Failure(BAD_CELL, message))
            else:
                yield RowRequest(row, head + content + tail)

    def _with_media(self, prompt: Any, columns: Columns, at: int, read_file: ReadFile) -> bytes:
        """Return the messages of a row with its images, sound and videos."""
        parts = row_parts(self._media, columns, at, read_file)
        if not parts:
            return self._wrap(prompt)
        if self._wrap is messages or type(prompt) is not str:
            return messages(prompt, parts)
        return user_message(prompt, parts)

    def _source(self, prompt: PromptSpec) -> tuple[Prompts, Wrap]:
        """Return the function that makes prompts, and the one that wraps them for a chat."""
        if prompt.template is not None:
            return self._template(prompt.template), _user
        if prompt.embed_column is not None:
            name = self._known("--embed", prompt.embed_column)
        elif prompt.messages_column is not None:
            name = self._known("--messages-column", prompt.messages_column)
        else:
            name = self._usual_column(chat=not prompt.completions)
        self.source, self.needs = f"column {name}", (name,)
        if prompt.messages_column is not None or (name == MESSAGES and not self.embeds):
            return partial(_cells, name), messages
        if name == PROMPT and not (self.embeds or prompt.completions):
            return partial(_texts_or_messages, name), _user_or_messages
        return partial(_texts, name), _user

    def _template(self, text: str) -> Prompts:
        from mayfly.inference.template import Template  # noqa: PLC0415 - jinja2 is slow to load

        template = Template(text, self._columns)
        self.source, self.needs = "template", template.needs
        if template.pattern is None:
            return partial(_rendered, template)
        if template.pattern.text == "%s":
            # One bare column: the common case.
            return partial(_shown, template.pattern.columns[0])
        return partial(_filled, template.pattern)

    def _known(self, option: str, name: str) -> str:
        if name not in self._columns:
            raise BadRequest(
                f"{option} {name}: the input has no such column{nearest(name, self._columns)}; "
                f"its columns are {', '.join(self._columns)}"
            )
        return name

    def _usual_column(self, *, chat: bool) -> str:
        for name in (MESSAGES, PROMPT) if chat else (PROMPT,):
            if name in self._columns:
                return name
        lacks = "neither a messages nor a prompt column" if chat else "no prompt column"
        raise BadRequest(
            f"the input has {lacks}; give --prompt, a template over its columns: "
            f"{', '.join(self._columns)}"
        )


# Functions that make prompts: text, messages, or a RowError.


def _bodies(columns: Columns, _rows: int) -> Iterator[Any]:
    """Yield the bodies of OpenAI-batch requests."""
    return _cells(BODY, columns, _rows)


def _embedded_texts(columns: Columns, _rows: int) -> Iterator[str | RowError]:
    """Yield the texts that OpenAI-batch requests embed."""
    for body in columns[BODY]:
        try:
            text = embedding_text(body)
        except (ValueError, TypeError) as error:
            yield RowError(BAD_BODY, str(error))
        else:
            yield RowError(NULL_PROMPT, "body has no input") if text is None else text


def _cells(column: str, columns: Columns, _rows: int) -> Iterator[Any]:
    for cell in columns[column]:
        yield RowError(NULL_PROMPT, f"column {column} is null") if cell is None else cell


def _texts(column: str, columns: Columns, _rows: int) -> Iterator[str | RowError]:
    """Yield the cells of a column as text; nested values are errors."""
    for cell in usable(column, columns[column]):
        yield _text(column, cell)


def _shown(column: str, columns: Columns, _rows: int) -> Iterator[str | RowError]:
    """Yield the cells of a column as a template renders them."""
    for cell in usable(column, columns[column]):
        yield str(cell) if isinstance(cell, JsonList | JsonDict) else _text(column, cell)


def _texts_or_messages(column: str, columns: Columns, _rows: int) -> Iterator[Any]:
    """Yield the text of a column's cells, or the messages of cells that are lists of them."""
    cells = columns[column]
    if set(map(type, cells)) == {str}:
        yield from cells
        return
    for cell, text in zip(cells, usable(column, cells), strict=True):
        yield cell if is_messages(cell) else _text(column, text)


def _text(column: str, cell: Any) -> str | RowError:
    if type(cell) is str:
        return cell
    if cell is None:
        return RowError(NULL_PROMPT, f"column {column} is null")
    if isinstance(cell, BadCell):
        return cell.error
    if isinstance(cell, JsonList | JsonDict):
        what = "an object" if isinstance(cell, JsonDict) else "a list that is not messages"
        return RowError(
            BAD_CELL,
            f"column {column} has {what}, not text; --prompt '{{{{ {column} }}}}' sends it as JSON",
        )
    return str(cell)


def _filled(pattern: "Pattern", columns: Columns, _rows: int) -> Iterator[str | RowError]:
    """Fill in a template of bare columns, in a tenth of the time of the template engine."""
    cells = [usable(name, columns[name]) for name in pattern.columns]
    are_good = not any(BadCell in set(map(type, column)) for column in cells)
    text = pattern.text
    for row in zip(*cells, strict=True):
        if are_good and None not in row:
            yield text % row
        else:
            yield _fault(dict(zip(pattern.columns, row, strict=True))) or text % row


def _rendered(template: "Template", columns: Columns, rows: int) -> Iterator[str | RowError]:
    """Yield the rows rendered by a template."""
    names = template.needs
    cells = [usable(name, columns[name]) for name in names]
    of_rows: Iterable[tuple[Any, ...]] = zip(*cells, strict=True) if cells else repeat((), rows)
    for some in _batched(of_rows):
        named = [dict(zip(names, row, strict=True)) for row in some]
        faults = [_fault(row) for row in named]
        good = [row for row, fault in zip(named, faults, strict=True) if fault is None]
        texts = iter(template.render_all(good))
        for fault in faults:
            yield next(texts) if fault is None else fault


def _batched(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    rows = iter(rows)
    while some := list(islice(rows, TEMPLATE_BATCH_ROWS)):
        yield some


def _fault(cells: Cells) -> RowError | None:
    """Return the error that prevents a prompt from a row's cells, or None."""
    for cell in cells.values():
        if isinstance(cell, BadCell):
            return cell.error
    if cells and all(cell is None for cell in cells.values()):
        return RowError(NULL_PROMPT, f"column {next(iter(cells))} is null")
    return None


def _keeping(read: Callable[..., Read], keeps: frozenset[str]) -> ReadReply:
    return partial(read, keeps=keeps) if keeps else read


def _string(text: str) -> bytes:
    try:
        return orjson.dumps(text)
    except TypeError as error:  # A lone surrogate has no UTF-8 encoding.
        raise RowError(TEMPLATE, "prompt is not valid Unicode") from error


def _user_or_messages(prompt: Any) -> bytes:
    return _user(prompt) if type(prompt) is str else messages(prompt)


def _user(text: str) -> bytes:
    return b'{"role":"user","content":' + _string(text) + b"}"
