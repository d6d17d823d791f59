"""Convert cells of images, sound and videos to content parts of a request.

A cell is a URL, a data URL, bytes, a path, or a Hugging Face {bytes, path} struct; a list of these
is several parts, and null is none. The content is sent as it is, not resized or converted. It is
checked before it is sent, because the tokens of a request are paid for.

Source: Together API, chat completions, content parts: `image_url`, `audio_url`, `video_url`, each
an object with a `url` that is https or `data:<mime>;base64,...`.
"""

import binascii
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from mayfly.inference.cell_text import RowError
from mayfly.inference.media_types import DATA_URL, Kind, image_fault, media_type_as
from mayfly.models.failures import BAD_MEDIA, MEDIA_FILE
from mayfly.models.job import PromptSpec

PART_BYTES = 20_000_000
"""Maximum content of one part, before base64 encoding."""

REQUEST_BYTES = 50_000_000
"""Maximum media of one request, as sent."""

ReadFile = Callable[[str, int], bytes]
"""(path or URI, maximum bytes) -> content; ValueError with the reason if it cannot be read."""

_SPOKEN = {"image": "an image", "audio": "sound", "video": "a video"}
_NAMED = ("bytes", "path", "url")
_SENT_AS_IT_IS = ("https://", "http://", "data:")


def no_files(name: str, _most: int) -> bytes:
    """Reject every file: for jobs without a folder to read from."""
    raise ValueError(f"{name} is a path, and there is no folder to read it from")


class MediaColumn(NamedTuple):
    """A column with images, sound or videos for the prompt.

    Attributes:
        kind: Kind of media in its cells.
    """

    kind: Kind
    name: str

    @property
    def option(self) -> str:
        """The option that names the column."""
        return f"--{self.kind}"


def media_columns(prompt: PromptSpec) -> list[MediaColumn]:
    """Return the media columns of a prompt in the order in which their parts are sent."""
    return [
        *(MediaColumn("image", name) for name in prompt.image_columns),
        *(MediaColumn("audio", name) for name in prompt.audio_columns),
        *(MediaColumn("video", name) for name in prompt.video_columns),
    ]


def row_parts(
    media: Sequence[MediaColumn], columns: Mapping[str, Sequence[Any]], at: int, read: ReadFile
) -> list[bytes]:
    """Return the content parts of one row, as JSON.

    Args:
        columns: For each media column, one value per row.
        at: Position of the row in them.

    Raises:
        RowError: A cell cannot be sent; the message names the column and says why.
    """
    parts: list[bytes] = []
    for column in media:
        try:
            parts.extend(cell_parts(column.kind, columns[column.name][at], read))
        except RowError as error:
            raise RowError(error.kind, f"column {column.name}: {error}") from error
        except (ValueError, TypeError) as error:  # An unreadable cell says why.
            raise RowError(BAD_MEDIA, f"column {column.name}: {error}") from error
    size = sum(map(len, parts))
    if size > REQUEST_BYTES:
        raise RowError(
            BAD_MEDIA,
            f"the row's images, sound and videos have {_mb(size)} as they are sent; a request may "
            f"have {_mb(REQUEST_BYTES)}",
        )
    return parts


def named_files(
    media: Sequence[MediaColumn], columns: Mapping[str, Sequence[Any]], rows: int
) -> Iterator[str]:
    """Yield the paths and URIs that `row_parts` reads for some rows, in its order."""
    for at in range(rows):
        for column in media:
            yield from _files_of(columns[column.name][at])


def _files_of(cell: Any) -> Iterator[str]:
    if isinstance(cell, list | tuple):
        for one in cell:
            yield from _files_of(one)
    elif isinstance(cell, dict):
        given = (cell[name] for name in _NAMED if cell.get(name) is not None)
        yield from _files_of(next(given, None))
    elif isinstance(cell, str) and cell and not cell[:8].lower().startswith(_SENT_AS_IT_IS):
        yield cell


def cell_parts(kind: Kind, cell: Any, read: ReadFile) -> Iterator[bytes]:
    """Yield the content parts of one cell, as JSON; none of null.

    Raises:
        RowError: It cannot be sent.
    """
    if cell is None:
        return
    if isinstance(cell, list | tuple):
        for one in cell:
            yield from cell_parts(kind, one, read)
    elif isinstance(cell, dict):
        yield from _struct_parts(kind, cell, read)
    elif isinstance(cell, bytes | bytearray | memoryview):
        yield _part(kind, _data_url(kind, bytes(cell), BAD_MEDIA))
    elif isinstance(cell, str):
        yield _part(kind, _url(kind, cell, read))
    else:
        str(cell)  # An unreadable cell raises here.
        raise RowError(
            BAD_MEDIA,
            f"a {type(cell).__name__} is not {_SPOKEN[kind]}; give a URL, a data URL, bytes, "
            "a path, or a {bytes, path} struct",
        )


def _struct_parts(kind: Kind, cell: Mapping[str, Any], read: ReadFile) -> Iterator[bytes]:
    """Yield the part of a Hugging Face struct: its bytes, else the file at its path."""
    for name in _NAMED:
        if cell.get(name) is not None:
            yield from cell_parts(kind, cell[name], read)
            return
    if not any(name in cell for name in _NAMED):
        raise RowError(
            BAD_MEDIA, f"a struct of {', '.join(map(str, cell)) or 'nothing'} has no bytes or path"
        )


def _url(kind: Kind, text: str, read: ReadFile) -> bytes:
    """Return the URL to send for a text, escaped for a JSON string."""
    if text[:8].lower().startswith(("https://", "http://")):
        return orjson.dumps(text)[1:-1]
    if text[:5].lower() == "data:":
        return _checked(kind, text)
    if not text:
        raise RowError(BAD_MEDIA, "the text is empty; give null where there is nothing to send")
    try:
        content = read(text, PART_BYTES)
    except ValueError as error:
        raise RowError(MEDIA_FILE, str(error)) from error
    return _data_url(kind, content, MEDIA_FILE)


def _checked(kind: Kind, text: str) -> bytes:
    """Return a data URL, with its media type corrected if necessary."""
    found = DATA_URL.match(text)
    if found is None:
        raise RowError(BAD_MEDIA, "a data URL must be data:<type>;base64,<content>")
    try:
        content = binascii.a2b_base64(text[found.end() :], strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise RowError(BAD_MEDIA, f"the data URL is not valid base64: {error}") from error
    mime = _mime(kind, content, BAD_MEDIA)
    if (found["mime"] or "").startswith(f"{kind}/"):
        return text.encode()
    return b"data:%b;base64,%b" % (mime.encode(), text[found.end() :].encode())


def _data_url(kind: Kind, content: bytes, failure: str) -> bytes:
    mime = _mime(kind, content, failure)
    return b"data:%b;base64,%b" % (mime.encode(), b64encode(content))


def _mime(kind: Kind, content: bytes, failure: str) -> str:
    """Return the media type of valid content.

    Args:
        failure: Class of the error if it is not valid.
    """
    if not content:
        raise RowError(failure, "the content is empty")
    if len(content) > PART_BYTES:
        raise RowError(
            failure,
            f"the content has {_mb(len(content))}; {_SPOKEN[kind]} may have {_mb(PART_BYTES)}",
        )
    mime = media_type_as(kind, content)
    if mime is None:
        begins = content[:8].hex(" ")
        raise RowError(failure, f"the content is not {_SPOKEN[kind]} of a known type ({begins} …)")
    if not mime.startswith(f"{kind}/"):
        raise RowError(failure, f"the content is {mime}, not {_SPOKEN[kind]}")
    if kind == "image" and (fault := image_fault(mime, content)):
        raise RowError(failure, f"the {mime} {fault}")
    return mime


def _part(kind: Kind, url: bytes) -> bytes:
    name = kind.encode() + b"_url"
    return b'{"type":"%b","%b":{"url":"%b"}}' % (name, name, url)


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
