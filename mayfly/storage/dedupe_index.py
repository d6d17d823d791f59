"""Index of rows with identical requests (duplicates), and the answers that they copy.

A file of the run, `DIR/_mayfly/copies.sqlite`. It is derived from the input, the requests and the
committed parts, so it can be lost without losing anything, and no crash makes a row be sent twice.
Memory does not grow with the rows.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Self

from mayfly.models.errors import TerminalError
from mayfly.models.rows import Answer
from mayfly.models.shards import Shard
from mayfly.storage.answer_record import from_record, to_record
from mayfly.storage.atomic import move_into_place, temporary_beside

BUSY_S = 60.0
"""How long a thread waits for another that is writing."""

_TABLES = """
CREATE TABLE about (key TEXT);
CREATE TABLE copies (row INTEGER PRIMARY KEY, first INTEGER);
CREATE TABLE answers (row INTEGER PRIMARY KEY, answer BLOB);
CREATE TABLE loaded (shard INTEGER PRIMARY KEY);
"""


class DuplicateIndex:
    """The duplicates of one job's input; safe to use from several threads and processes."""

    def __init__(self, path: Path) -> None:
        """Use the index in a file; see `opened` and `existing`."""
        self._path = path

    @classmethod
    def opened(cls, path: Path, *, key: str, rows: Iterable[tuple[int, bytes]]) -> Self:
        """Return the index in a file, which is created if it has another key.

        Args:
            key: Identifies the input and the requests.
            rows: Each row that can be sent, in order, with the digest of its request; read only if
                the file has to be created.

        Raises:
            TerminalError: The file cannot be written.
        """
        index = cls(path)
        try:
            if index.key != key:
                index._make(key, rows)
        except (sqlite3.Error, OSError) as error:
            raise TerminalError(
                f"{path} cannot be written: {error}; "
                "free some disk space and run the same command again"
            ) from error
        return index

    @classmethod
    def existing(cls, path: Path, *, key: str) -> Self | None:
        """Return the index in a file, without writing; None if there is none with this key."""
        index = cls(path)
        return index if index.key == key else None

    @property
    def key(self) -> str | None:
        """The key in the file; None if there is no such file, or it is damaged."""
        if not self._path.exists():
            return None
        try:
            with closing(self._connect()) as database:
                return str(database.execute("SELECT key FROM about").fetchone()[0])
        except (sqlite3.Error, TypeError):
            return None

    @staticmethod
    def key_of(fingerprint: str, input_fingerprint: str) -> str:
        """Return the key of a job's index: that of the job, and of its input, which may grow."""
        return f"{fingerprint} {input_fingerprint}"

    def within(self, shard: Shard) -> dict[int, int]:
        """Return the rows of a shard that are duplicates, with the first row of each."""
        with closing(self._connect()) as database:
            found = database.execute(
                "SELECT row, first FROM copies WHERE row >= ? AND row < ?",
                (shard.first_row, shard.end_row),
            )
            return dict(found.fetchall())

    def forget_answers(self) -> None:
        """Drop the answers that were copied from parts, because the parts will change."""
        with closing(self._connect()) as database, database:
            database.execute("DELETE FROM answers")
            database.execute("DELETE FROM loaded")

    def has_answers_of(self, shard: Shard) -> bool:
        """Whether `keep_answers` was called for a shard."""
        with closing(self._connect()) as database:
            query = "SELECT 1 FROM loaded WHERE shard = ?"
            return database.execute(query, (shard.index,)).fetchone() is not None

    def keep_answers(self, shard: Shard, answers: Mapping[int, Answer]) -> None:
        """Store the answers of a shard's rows that have duplicates in later shards."""
        with closing(self._connect()) as database, database:
            copied = database.execute(
                "SELECT DISTINCT first FROM copies WHERE first >= ? AND first < ? AND row >= ?",
                (shard.first_row, shard.end_row, shard.end_row),
            ).fetchall()
            database.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?)",
                ((row, to_record(answers[row])) for (row,) in copied),
            )
            database.execute("INSERT OR REPLACE INTO loaded VALUES (?)", (shard.index,))

    def answers(self, rows: Iterable[int]) -> Iterator[Answer]:
        """Yield the stored answers of rows."""
        with closing(self._connect()) as database:
            for row in rows:
                query = "SELECT answer FROM answers WHERE row = ?"
                found = database.execute(query, (row,)).fetchone()
                if found is not None:
                    yield from_record(found[0])

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=BUSY_S)

    def _make(self, key: str, rows: Iterable[tuple[int, bytes]]) -> None:
        made = temporary_beside(self._path)
        seen = temporary_beside(self._path)
        try:
            with closing(sqlite3.connect(made)) as database:
                database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
                database.executescript(_TABLES)
                # Digests are needed only while the file is created.
                database.execute("ATTACH ? AS once", (str(seen),))
                database.executescript(
                    "PRAGMA once.journal_mode = OFF; PRAGMA once.synchronous = OFF;"
                    "PRAGMA once.cache_size = -65536;"
                    "CREATE TABLE once.first (digest BLOB PRIMARY KEY, row INTEGER) WITHOUT ROWID;"
                )
                with database:
                    for row, digest in rows:
                        new = database.execute(
                            "INSERT OR IGNORE INTO once.first VALUES (?, ?)", (digest, row)
                        )
                        if not new.rowcount:
                            database.execute(
                                "INSERT INTO copies SELECT ?, row FROM once.first WHERE digest = ?",
                                (row, digest),
                            )
                    database.execute("CREATE INDEX by_first ON copies (first)")
                    database.execute("INSERT INTO about VALUES (?)", (key,))
            move_into_place(made, self._path)
        finally:
            made.unlink(missing_ok=True)
            seen.unlink(missing_ok=True)
