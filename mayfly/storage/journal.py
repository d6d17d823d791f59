"""The journal: answers written to disk as they arrive, one append-only file per shard.

A file has lines of text: `<CRC-32, 8 hex digits> <JSON>`. The first line identifies job and shard,
the others are answers. The checksums of answers are seeded with that of the first line, so that a
record is valid only in the journal of its own job and shard.
"""

import fcntl
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from zlib import crc32

import orjson

from mayfly.models.errors import BadRequest, RetryableError, TerminalError
from mayfly.models.rows import Answer
from mayfly.models.shards import Shard
from mayfly.storage.answer_record import from_record, row_of, to_record
from mayfly.storage.atomic import sync_folder
from mayfly.storage.journal_index import PREFIX_BYTES, Answers
from mayfly.storage.write_watch import WriteWatch
from mayfly.system import SYSTEM, System

FORMAT = 1

BEHIND_BYTES = 32 * 2**20
"""Maximum unsynced answers: beyond it, no further row is sent until the disk has caught up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """How a journal gets to the disk.

    Attributes:
        system: Syncs its file.
        behind_bytes: How many bytes of answers may wait to be synced before rows wait.
    """

    system: System = SYSTEM
    behind_bytes: int = BEHIND_BYTES


class Journal:
    """Appends answers of one shard; after `commit` they survive a power failure.

    Opening truncates the file after the last valid record. `append` and `commit` may be called in
    different threads: `append` where answers arrive, `commit` where waiting for the disk is fine.

    Args:
        watch: Knows of each write while it is under way.
        disk: How it gets to the disk.

    Attributes:
        answers: All answers by row, from the file and appended; the last one of each row. Memory
            is bounded; usable until the journal is closed.

    Raises:
        BadRequest: The file is the journal of another job or shard.
        RetryableError: Another process, or another attempt, is still writing it.
    """

    def __init__(
        self,
        path: Path,
        *,
        fingerprint: str,
        shard: Shard,
        watch: WriteWatch | None = None,
        disk: Disk | None = None,
    ) -> None:
        header = _header(fingerprint, shard)
        self._path = path
        self._watch, self._disk = watch or WriteWatch(), disk or Disk()
        self._seed = crc32(header)
        # A deque, because its ends can be used from two threads without a lock.
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._writing, self._syncing = threading.Lock(), threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._lock()
            self.answers = Answers(self._file)
            self._end = self._synced = 0
            for record, end in _records(path, fingerprint=fingerprint, shard=shard):
                self._end = end
                if (row := row_of(record)) is not None:
                    self.answers.lies_at(row, end - 1 - len(record), len(record))
            os.ftruncate(self._file, self._end)
            if not self._end:
                self._write(_line(header, 0))
                self._sync()
                sync_folder(path.parent)
        except BaseException:
            os.close(self._file)
            raise

    @property
    def seed(self) -> int:
        """The seed of the checksums of its answers, for `answer_line`."""
        return self._seed

    @property
    def end(self) -> int:
        """The position at which the next line is written."""
        return self._end

    @property
    def waiting(self) -> int:
        """Answers appended and not yet committed: what a crash would lose now."""
        return len(self._waiting)

    @property
    def is_behind(self) -> bool:
        """Whether so much is unsynced that rows should wait for a commit."""
        return self._waiting_bytes + self._end - self._synced > self._disk.behind_bytes

    def append(self, answer: Answer) -> None:
        """Add an answer to the next commit."""
        line = answer_line(answer, self._seed)
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        if self.answers.hold(answer, len(line)):
            self.answers.release(self._end)

    def write_lines(self, lines: bytes, rows: Sequence[int]) -> None:
        """Write answers that are lines already, as from a worker.

        On return the kernel has them, as after `commit(sync=False)`. A journal uses either this
        method or `append`, not both.

        Args:
            lines: Lines from `answer_line` with this journal's seed.
            rows: The row of each line.

        Raises:
            TerminalError: As `commit`.
        """
        with self._writing:
            position = self._end
            self._write(lines)
            self.answers.wrote(rows, position, lines)

    def rows_since(self, position: int) -> frozenset[int]:
        """Return the rows whose lines were written at or after a position, which was an `end`."""
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(position)
            rows = (row_of(line[PREFIX_BYTES:]) for line in file)
            return frozenset(row for row in rows if row is not None)

    def keep_up(self) -> None:
        """Wait for the disk if it is far behind; called before further rows are sent.

        Raises:
            TerminalError: As `commit`.
        """
        if self.is_behind:
            self.commit()

    def commit(self, *, sync: bool = True) -> None:
        """Write the pending answers and wait until they are on disk.

        Args:
            sync: If False, only write: the data survives a crash of the process, but not a power
                failure.

        Raises:
            TerminalError: It cannot be written; the answers stay pending for the next commit.
        """
        with self._writing:
            self._waiting_bytes = 0
            records = [self._waiting.popleft() for _ in range(len(self._waiting))]
            try:
                self._write(b"".join(records))
            except BaseException:
                self._waiting.extendleft(reversed(records))
                raise
        if sync:
            self._sync()

    def close(self) -> None:
        """Commit and close; closing twice is closing once."""
        if self._file < 0:
            return
        try:
            self.commit()
        finally:
            # Not during a write: the number of the descriptor may be another file's at once.
            with self._writing:
                os.close(self._file)
                self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lock(self) -> None:
        # A worker can outlive its run: two writers would pay for the same rows.
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RetryableError(
                f"journal {self._path} is being written by another process; "
                "wait until that has ended and run the same command again"
            ) from None

    def _write(self, data: bytes) -> None:
        self._watch.begin(self._path)
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(self._file, data[done:] if done else data, self._end + done)
        except OSError as error:
            os.ftruncate(self._file, self._end)
            raise self._refused(error) from error
        finally:
            self._watch.end()
        self._end += len(data)

    def _sync(self) -> None:
        # Not under the write lock: writing to the kernel must not wait for the disk.
        with self._syncing:
            end = self._end
            if end == self._synced:
                return
            self._watch.begin(self._path)
            try:
                self._disk.system.sync(self._file, data_only=True)
            except OSError as error:
                raise self._refused(error) from error
            finally:
                self._watch.end()
            self._synced = end

    def _refused(self, error: OSError) -> TerminalError:
        return TerminalError(
            f"journal {self._path} cannot be written: {error.strerror}; "
            "free some disk space and run the same command again"
        )


def answer_line(answer: Answer, seed: int) -> bytes:
    """Return an answer as a line of the journal whose checksums have this seed."""
    return _line(to_record(answer), seed)


def open_journal(
    path: Path,
    *,
    fingerprint: str,
    shard: Shard,
    watch: WriteWatch | None = None,
    disk: Disk | None = None,
) -> tuple[Journal, dict[int, Answer]]:
    """Open a shard's journal; return it and its existing answers, all in memory."""
    journal = Journal(path, fingerprint=fingerprint, shard=shard, watch=watch, disk=disk)
    return journal, dict(journal.answers)


def load_journal(path: Path, *, fingerprint: str, shard: Shard) -> dict[int, Answer]:
    """Return the answers of a journal by row without changing it; empty if there is no file.

    Raises:
        BadRequest: The file is the journal of another job or shard.
    """
    if not path.exists():
        return {}
    records = _records(path, fingerprint=fingerprint, shard=shard)
    answers = (from_record(record) for record, _ in records if record[:1] == b"[")
    return {answer.row: answer for answer in answers}


def _records(path: Path, *, fingerprint: str, shard: Shard) -> Iterator[tuple[bytes, int]]:
    """Yield the content of each valid line and the position after it."""
    header = _header(fingerprint, shard)
    seed = crc32(header)
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(file):
            end += len(line)
            if number == 0 and (found := _content(line, 0)) is not None:
                if found != header:
                    raise BadRequest(
                        f"journal {path} belongs to another job or shard; "
                        "give another --output, or move the file away"
                    )
                yield header, end
            elif (record := _content(line, seed)) is not None:
                row = row_of(record)
                if row is not None and shard.first_row <= row < shard.end_row:
                    yield record, end


def _header(fingerprint: str, shard: Shard) -> bytes:
    return orjson.dumps(
        {
            "mayfly_journal": FORMAT,
            "fingerprint": fingerprint,
            "shard": [shard.index, shard.first_row, shard.rows],
        }
    )


def _line(content: bytes, seed: int) -> bytes:
    return b"%08x %b\n" % (crc32(content, seed), content)


def _content(line: bytes, seed: int) -> bytes | None:
    """Return the content of a line, or None if its checksum does not match."""
    content = line[PREFIX_BYTES:-1]
    return content if _line(content, seed) == line else None
