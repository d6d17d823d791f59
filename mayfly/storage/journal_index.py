"""The answers of a journal by row: recent ones in memory, others by position in the file."""

import os
from collections.abc import Iterator, Mapping, Sequence

from mayfly.models.rows import Answer
from mayfly.storage.answer_record import (
    from_own_records,
    from_record,
    row_of,
    to_record,
)

HELD_BYTES = 16 * 2**20
"""Maximum size of lines in memory; beyond it, answers are read from the file."""

RELEASED_BYTES = 256 * 2**10
"""Approximate size released at once, which must be quick: it happens where answers arrive."""

PREFIX_BYTES = 9
"""Length of the checksum and a space before a record."""


class Answers(Mapping[int, Answer]):
    """Answers by row, in bounded memory; belongs to one journal and ends with it."""

    def __init__(self, file: int) -> None:
        self._file = file
        # Bytes are the line, without its end. An integer is the position of the record, followed
        # by 32 bits of its length.
        self._found: dict[int, Answer | bytes | int] = {}
        self._held = 0
        self._released = 0

    def __getitem__(self, row: int) -> Answer:
        found = self._found[row]
        if isinstance(found, Answer):
            return found
        if isinstance(found, bytes):
            return from_own_records([found[PREFIX_BYTES:]])[0]
        record = os.pread(self._file, found & 0xFFFF_FFFF, found >> 32)
        return from_record(record)

    def __iter__(self) -> Iterator[int]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def of_rows(self, first_row: int, rows: int) -> list[Answer]:
        """Return the answers of consecutive rows: faster than one by one.

        Raises:
            KeyError: A row has none.
        """
        found = [self._found[row] for row in range(first_row, first_row + rows)]
        lines = [line for line in found if isinstance(line, bytes)]
        if len(lines) == len(found):
            return from_own_records([line[PREFIX_BYTES:] for line in lines])
        return [self[row] for row in range(first_row, first_row + rows)]

    def hold(self, answer: Answer, line_bytes: int) -> bool:
        """Add an answer that is not on disk yet; return whether `release` is due."""
        self._found[answer.row] = answer
        self._held += line_bytes
        return self._held > HELD_BYTES

    def lies_at(self, row: int, position: int, length: int) -> None:
        """Add an answer with a record in the file, at `position`."""
        self._found[row] = position << 32 | length
        self._released = position + length + 1

    def wrote(self, rows: Sequence[int], position: int, lines: bytes) -> None:
        """Add the answers of rows, whose lines this process has just written at `position`."""
        # JSON has no line ends of its own.
        each = lines.split(b"\n")
        each.pop()
        if self._held + len(lines) <= HELD_BYTES:
            self._held += len(lines)
            self._found.update(zip(rows, each, strict=True))
            return
        for row, line in zip(rows, each, strict=True):
            self.lies_at(row, position + PREFIX_BYTES, len(line) - PREFIX_BYTES)
            position += len(line) + 1

    def release(self, end: int) -> None:
        """Replace some answers in memory by their positions in the file.

        Called by the thread that appends, so that no answer changes meanwhile. A later answer of
        the same row stays in effect.

        Args:
            end: Position up to which the file is written.
        """
        size = RELEASED_BYTES
        while True:
            lines = os.pread(self._file, min(size, end - self._released), self._released)
            whole = lines.rfind(b"\n") + 1
            if whole or len(lines) < size:
                break
            size *= 2
        position = self._released
        for line in lines[:whole].splitlines(keepends=True):
            record = line[PREFIX_BYTES:-1]
            row = row_of(record)
            found = self._found.get(row) if row is not None else None
            if row is not None and isinstance(found, Answer):
                if to_record(found) == record:
                    self._found[row] = (position + PREFIX_BYTES) << 32 | len(record)
                self._held -= len(line)
            position += len(line)
        self._released = position
