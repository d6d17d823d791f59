"""Idle readers of a dataset, so that a read continues where an earlier one stopped."""

import os
import threading
from collections.abc import Hashable
from typing import Any

from mayfly.storage.parquet_reader import ParquetReader

MAX_IDLE = 2
"""Idle readers kept: requests and part files each read on from their own position."""


class ReaderPool:
    """Holds the idle readers of one dataset; safe to use from several threads.

    A pickled pool is empty on arrival: open files do not travel between processes.
    """

    def __init__(self) -> None:
        self._idle: list[tuple[Hashable, ParquetReader]] = []
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return ReaderPool, ()

    @property
    def idle(self) -> tuple[ParquetReader, ...]:
        """The readers that are not in use, the longest idle one first."""
        return tuple(reader for _, reader in self._idle)

    def borrow(self, key: Hashable, row: int, group_start: int) -> ParquetReader | None:
        """Take an idle reader that reaches a row sooner than starting at its row group would.

        A reader has one user at a time: it is out of the pool until `give_back`.

        Args:
            key: What the reader decodes: readers of other columns do not match.
            row: Position of the row to read.
            group_start: First row of the row group that holds it.
        """
        # A forked process shares the file positions of its parent's readers.
        key = (os.getpid(), key)
        with self._lock:
            near = [
                (reader.position, index)
                for index, (owner, reader) in enumerate(self._idle)
                if owner == key and group_start <= reader.position <= row
            ]
            return self._idle.pop(max(near)[1])[1] if near else None

    def give_back(self, key: Hashable, reader: ParquetReader) -> None:
        """Keep a reader for the next read from its position; close the longest idle one."""
        with self._lock:
            self._idle.append(((os.getpid(), key), reader))
            dropped = self._idle.pop(0)[1] if len(self._idle) > MAX_IDLE else None
        if dropped is not None:
            dropped.close()

    def close(self) -> None:
        """Close the files that idle readers hold open."""
        with self._lock:
            readers = [reader for _, reader in self._idle]
            self._idle.clear()
        for reader in readers:
            reader.close()
