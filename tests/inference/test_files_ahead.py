"""Files that cells name are read ahead of their rows: several at a time, in order, bounded."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mayfly.inference import files_ahead
from mayfly.inference.files_ahead import FilesAhead
from mayfly.inference.media import MediaColumn, named_files

MOST = 20_000_000


class Store:
    """Remote files, each with its name for content.

    Attributes:
        begun: Names of the files whose reading has begun.
    """

    def __init__(self, together: int = 1, size: int = 0) -> None:
        self.begun: list[str] = []
        self._size = size
        self._gate = threading.Barrier(together)

    def prepare(self, name: str, _most: int) -> Callable[[], bytes]:
        def read() -> bytes:
            self.begun.append(name)
            self._gate.wait(60)
            if name.startswith("bad"):
                raise ValueError(f"{name} cannot be read")
            return name.encode().ljust(self._size, b" ")

        return read


def never(name: str, _most: int) -> bytes:
    raise AssertionError(f"{name} was not read ahead")


@pytest.fixture
def ahead() -> Iterator[Callable[..., FilesAhead]]:
    """Make readers that are closed at the end."""
    made: list[FilesAhead] = []

    def make(
        names: list[str], store: Store, read: Callable[[str, int], bytes] = never
    ) -> FilesAhead:
        made.append(FilesAhead(iter(names), read, store.prepare, MOST))
        return made[-1]

    yield make
    for files in made:
        files.close()


def test_files_are_read_several_at_a_time_and_given_in_order(
    ahead: Callable[..., FilesAhead],
) -> None:
    names = [f"{number}.png" for number in range(64)]
    # None of four is given before all four are being read.
    files = ahead(names, Store(together=4))

    assert [files.read(name, MOST).decode() for name in names] == names


def test_large_files_are_few_at_a_time(ahead: Callable[..., FilesAhead]) -> None:
    size = files_ahead.AHEAD_BYTES // 2
    names = [str(number) for number in range(10)]
    store = Store(size=size)
    files = ahead(names, store)

    files.read("0", MOST)
    files.read("1", MOST)

    # Before the first size is known there are four, and then no more than fit.
    assert len(store.begun) <= 4


def test_file_that_cannot_be_read_fails_where_it_is_needed(
    ahead: Callable[..., FilesAhead],
) -> None:
    files = ahead(["a", "bad", "b"], Store())

    assert files.read("a", MOST) == b"a"
    with pytest.raises(ValueError, match="bad cannot be read"):
        files.read("bad", MOST)
    assert files.read("b", MOST) == b"b"


def test_file_of_a_row_that_failed_before_is_left_out(ahead: Callable[..., FilesAhead]) -> None:
    files = ahead(["a", "b", "c"], Store())

    assert files.read("c", MOST) == b"c"


def test_file_that_nobody_foresaw_is_read_at_once(ahead: Callable[..., FilesAhead]) -> None:
    files = ahead(["a"], Store(), lambda name, _most: name.encode())

    assert files.read("other", MOST) == b"other"
    assert files.read("a", MOST) == b"a"


def test_named_files_are_those_that_rows_read() -> None:
    media = [MediaColumn("image", "photo"), MediaColumn("audio", "sound")]
    columns: dict[str, list[Any]] = {
        "photo": ["a.png", None, ["s3://b/c.png", "https://x/y.png"], {"bytes": b"", "path": "d"}],
        "sound": [{"bytes": None, "path": "e.wav"}, "data:audio/wav;base64,AA", "", b"\0"],
    }

    assert list(named_files(media, columns, 4)) == ["a.png", "e.wav", "s3://b/c.png"]
