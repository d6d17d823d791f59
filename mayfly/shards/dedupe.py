"""Deduplicate requests: rows with identical requests are sent once and share the response."""

import hashlib
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mayfly.models.rows import Answer
from mayfly.models.shards import Shard
from mayfly.shards.requests import RequestSource
from mayfly.storage.dedupe_index import DuplicateIndex
from mayfly.storage.output_columns import CHAT, OutputColumns
from mayfly.storage.parts import part_label, read_answers
from mayfly.storage.run_paths import RunPaths

POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Deduplication:
    """Gives the shards of a run the answers of rows that are not sent.

    Attributes:
        shards: All shards of the job, in order.
        again: Shards whose parts this run replaces, after `since` (Unix time, seconds).
    """

    duplicates: DuplicateIndex
    paths: RunPaths
    fingerprint: str
    shards: tuple[Shard, ...]
    columns: OutputColumns = CHAT
    again: frozenset[int] = frozenset()
    since: float = 0.0

    def answers(
        self, wanted: Mapping[int, int], own: Mapping[int, Answer], check: Callable[[], None]
    ) -> dict[int, Answer]:
        """Return the answers of duplicate rows; wait for the shards that produce them.

        A row only duplicates an earlier row, so the first shard in progress never waits.

        Args:
            wanted: Duplicate rows, each with the row that it duplicates.
            own: Answers of the shard that the rows are in.
            check: Raises the error that ended the run, if it has ended.
        """
        elsewhere: dict[Shard, set[int]] = defaultdict(set)
        found: dict[int, Answer] = {}
        for first in set(wanted.values()):
            if first in own:
                found[first] = own[first]
            else:
                elsewhere[self._shard_of(first)].add(first)
        for shard, firsts in elsewhere.items():
            while not self.duplicates.has_answers_of(shard):
                if self._is_committed(shard):
                    part = self.paths.part(shard.index)
                    self.duplicates.keep_answers(shard, read_answers(part, self.columns))
                else:
                    check()
                    time.sleep(POLL_S)
            found |= {answer.row: answer for answer in self.duplicates.answers(firsts)}
        return {row: _copy(row, found[first]) for row, first in wanted.items()}

    def can_answer(self, wanted: Mapping[int, int], shard: Shard) -> bool:
        """Return whether `answers` would find the answers of a shard's duplicates at once."""
        others = {self._shard_of(first) for first in wanted.values()} - {shard}
        return all(map(self._is_committed, others))

    def _shard_of(self, row: int) -> Shard:
        return self.shards[bisect_right(self.shards, row, key=lambda shard: shard.first_row) - 1]

    def _is_committed(self, shard: Shard) -> bool:
        path = self.paths.part(shard.index)
        label = part_label(path)
        if label is None or label[:2] != (self.fingerprint, shard):
            return False
        return shard.index not in self.again or path.stat().st_mtime >= self.since


def find_duplicates(source: RequestSource, paths: RunPaths, *, key: str) -> DuplicateIndex:
    """Find the rows of a job's input whose request equals that of an earlier row.

    Args:
        key: Identifies the job and its input; an index with another key is rebuilt.
    """
    return DuplicateIndex.opened(paths.duplicates, key=key, rows=_digests(source))


def _digests(source: RequestSource) -> Iterator[tuple[int, bytes]]:
    for request in source.requests(0, source.dataset.rows):
        if request.failure is None:
            yield request.row, hashlib.blake2b(request.body, digest_size=16).digest()


def _copy(row: int, answer: Answer) -> Answer:
    """Return another row's answer as this row's, with no attempts and no usage."""
    return answer._replace(
        row=row, prompt_tokens=0, completion_tokens=0, cached_tokens=0, attempts=0, dropped=None
    )
