"""The answers of a journal by row: the latest in memory, the others where they lie in its file."""

import os
from collections.abc import Iterator, Mapping

from mayfly.models.rows import Answer
from mayfly.storage.answer_record import from_record, row_of, to_record

HELD_BYTES = 16 * 2**20
"""As many bytes of records are held in memory; beyond that, answers are read from the file."""

RELEASED_BYTES = 256 * 2**10
"""About so much is released at once: it is done where answers arrive, and must be quick."""

PREFIX_BYTES = 9
"""What a line has before its record: the checksum and a space."""


class Answers(Mapping[int, Answer]):
    """Answers by row, in bounded memory; belongs to one journal and ends with it."""

    def __init__(self, file: int) -> None:
        self._file = file
        # An integer says where the record lies: its position, then 32 bits of its length.
        self._found: dict[int, Answer | int] = {}
        self._held = 0
        self._released = 0

    def __getitem__(self, row: int) -> Answer:
        found = self._found[row]
        if isinstance(found, Answer):
            return found
        record = os.pread(self._file, found & 0xFFFF_FFFF, found >> 32)
        return from_record(record)

    def __iter__(self) -> Iterator[int]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def hold(self, answer: Answer, record_bytes: int) -> bool:
        """Take an answer that is not on disk yet; return whether it is time to `release`."""
        self._found[answer.row] = answer
        self._held += record_bytes
        return self._held > HELD_BYTES

    def lies_at(self, row: int, position: int, length: int) -> None:
        """Take an answer whose record is in the file, ending at `position + length`."""
        self._found[row] = position << 32 | length
        self._released = position + length + 1

    def release(self, end: int) -> None:
        """Forget some answers whose lines end by `end`, which must be written, and note where.

        Called by whoever appends, so that no answer changes meanwhile. An answer that a later
        one of the same row has replaced stays replaced.
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
                self._held -= len(record)
            position += len(line)
        self._released = position
