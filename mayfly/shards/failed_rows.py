"""Failed rows: write them as dead letters, and select those that can be retried."""

import hashlib
from collections.abc import Collection
from itertools import groupby

from mayfly.models.failures import UNSENDABLE
from mayfly.shards.dedupe import Deduplication
from mayfly.shards.requests import RequestSource
from mayfly.storage.dataset import Dataset
from mayfly.storage.dead_letters import dead_letter_counts, failed_rows, write_dead_letters
from mayfly.storage.journal import load_journal
from mayfly.storage.output_columns import OutputColumns
from mayfly.storage.parts import read_answers, write_part
from mayfly.storage.rows_left import answers_of_all, no_duplicates
from mayfly.storage.run_folder import RunFolder


def shards_to_retry(folder: RunFolder) -> dict[int, int]:
    """Return the number of failed rows that can be retried, by shard index."""
    found = {}
    done = folder.manifest.done
    folder.fetch_parts(index for index, tally in done.items() if tally.failed)
    for index, tally in done.items():
        if tally.failed:
            rows = failed_rows(folder.paths.part(index))
            if again := sum(failure.kind not in UNSENDABLE for _, failure in rows):
                found[index] = again
    return found


def update_dead_letters(
    source: RequestSource, folder: RunFolder, *, changed: Collection[int] = ()
) -> None:
    """Update the dead letters from the parts, if they are out of date.

    Args:
        changed: Shards whose parts were just replaced; the others are compared by count.
    """
    kept = dead_letter_counts(folder.paths.dead_letters)
    failed = {index: tally.failed for index, tally in folder.manifest.done.items() if tally.failed}
    stale = {index for index in kept | failed if kept.get(index) != failed.get(index)}
    stale |= {index for index in changed if index in failed}
    if stale:
        folder.fetch_parts(stale)
        parts = {index: folder.paths.part(index) for index in failed}
        write_dead_letters(
            folder.paths.dead_letters, parts, stale, lambda rows: _digests(source, rows)
        )


def merge_journals(dataset: Dataset, columns: OutputColumns, folder: RunFolder) -> None:
    """Merge journalled answers of finished shards, left by an interrupted run, into the parts.

    Only an interrupted `--retry-failed` leaves such answers; they were paid for.
    """
    for shard in folder.manifest.shards:
        path = folder.paths.journal(shard.index)
        if shard.index not in folder.manifest.done or not path.exists():
            continue
        fingerprint = folder.manifest.fingerprint
        folder.fetch_parts([shard.index])
        part = folder.paths.part(shard.index)
        answers = read_answers(part, columns)
        news = {
            row: answer
            for row, answer in load_journal(path, fingerprint=fingerprint, shard=shard).items()
            if answer.failure is None and answers[row].failure is not None
        }
        tally = folder.manifest.done[shard.index]
        if news:
            tally = write_part(
                folder.paths.folder,
                shard,
                dataset,
                answers | news,
                fingerprint=fingerprint,
                columns=columns,
            )
        folder.record_done(shard.index, tally)


def commit_answered(
    dataset: Dataset,
    columns: OutputColumns,
    folder: RunFolder,
    deduplication: Deduplication | None = None,
) -> None:
    """Write the parts of unfinished shards whose rows an interrupted run has all answered.

    Nothing is left to send for them, so they need no endpoint.

    Args:
        deduplication: Gives duplicate rows their answers, if duplicates are not sent.

    Raises:
        TerminalError: A part cannot be written; the journal keeps its answers.
    """
    duplicates_of = no_duplicates if deduplication is None else deduplication.duplicates.within
    for shard in folder.manifest.left:
        answers = answers_of_all(folder.paths, folder.manifest, shard, duplicates_of)
        if answers is None:
            continue
        copies = {row: first for row, first in duplicates_of(shard).items() if row not in answers}
        if deduplication is not None and copies:
            if not deduplication.can_answer(copies, shard):
                continue
            answers |= deduplication.answers(copies, answers, lambda: None)
        tally = write_part(
            folder.paths.folder,
            shard,
            dataset,
            answers,
            fingerprint=folder.manifest.fingerprint,
            columns=columns,
        )
        folder.record_done(shard.index, tally)


def _digests(source: RequestSource, rows: Collection[int]) -> dict[int, str]:
    """Return the digests of some rows' requests, reading each range of the input once."""
    wanted, found = sorted(rows), {}
    # Neighbouring rows are read together.
    for _, near in groupby(wanted, key=lambda row: row // 4096):
        block = list(near)
        first, end = block[0], block[-1] + 1
        asked = set(block)
        for request in source.requests(first, end - first):
            if request.row in asked and request.failure is None:
                found[request.row] = hashlib.sha256(request.body).hexdigest()
    return found
