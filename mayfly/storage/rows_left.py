"""Which rows of an output are left to send, by its parts and journals.

A run may end between its last answer and its last part: by a crash, an interruption or a full disk.
A shard whose rows are all in its journal needs no endpoint, only its part.
"""

from collections.abc import Callable, Mapping

from mayfly.models.failures import UNSENDABLE
from mayfly.models.manifest import Manifest
from mayfly.models.rows import Answer
from mayfly.models.shards import Shard
from mayfly.storage.dead_letters import failed_rows
from mayfly.storage.journal import load_journal
from mayfly.storage.parts import part_label
from mayfly.storage.run_paths import RunPaths

DuplicatesOf = Callable[[Shard], Mapping[int, int]]
"""Returns the rows of a shard that are not sent, each with the row that it copies."""


def no_duplicates(_shard: Shard) -> Mapping[int, int]:
    """Return none: every row is sent."""
    return {}


def journalled_answers(paths: RunPaths, manifest: Manifest, shard: Shard) -> dict[int, Answer]:
    """Return the answers in a shard's journal, by row; writes nothing."""
    return load_journal(paths.journal(shard.index), fingerprint=manifest.fingerprint, shard=shard)


def answers_of_all(
    paths: RunPaths,
    manifest: Manifest,
    shard: Shard,
    duplicates_of: DuplicatesOf = no_duplicates,
) -> dict[int, Answer] | None:
    """Return the journalled answers of a shard if none is missing but duplicates'; else None."""
    duplicates = duplicates_of(shard)
    if not duplicates and not paths.journal(shard.index).exists():
        return None
    answers = journalled_answers(paths, manifest, shard)
    unsent = sum(row not in answers for row in duplicates)
    return answers if len(answers) + unsent == shard.rows else None


def failed_rows_left(paths: RunPaths, manifest: Manifest, shard: Shard) -> int:
    """Return how many failed rows of a finished shard `--retry-failed` would send.

    An interrupted retry may have answered some of them already, in the journal. Of a part that is
    not on this machine all failed rows count.
    """
    if part_label(paths.part(shard.index)) is None:
        return manifest.done[shard.index].failed
    sendable = {
        row
        for row, failure in failed_rows(paths.part(shard.index))
        if failure.kind not in UNSENDABLE
    }
    if not sendable:
        return 0
    answers = journalled_answers(paths, manifest, shard)
    return len(sendable - {row for row, answer in answers.items() if answer.failure is None})


def nothing_left(
    paths: RunPaths,
    manifest: Manifest,
    *,
    retry_failed: bool,
    duplicates_of: DuplicatesOf = no_duplicates,
) -> bool:
    """Return whether a run into this output would send nothing; it may still write parts.

    Args:
        manifest: What is done, as the parts say.
        retry_failed: Whether the run sends failed rows again.
    """
    for shard in manifest.left:
        answers = answers_of_all(paths, manifest, shard, duplicates_of)
        if answers is None:
            return False
        failures = (each.failure for each in answers.values() if each.failure is not None)
        if retry_failed and any(failure.kind not in UNSENDABLE for failure in failures):
            return False
    if not retry_failed:
        return True
    done = manifest.done
    failed = [s for s in manifest.shards if s.index in done and done[s.index].failed]
    return not any(failed_rows_left(paths, manifest, shard) for shard in failed)
