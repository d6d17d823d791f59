"""The journal: committed answers are read back, and nothing else is."""

import subprocess
import sys
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mayfly.models.errors import BadRequest, RetryableError
from mayfly.models.failures import Failure
from mayfly.models.rows import MAX_TOKENS, Answer
from mayfly.models.shards import Shard
from mayfly.storage.journal import (
    BEHIND_BYTES,
    Disk,
    Journal,
    answer_line,
    load_journal,
    open_journal,
)
from mayfly.storage.journal_index import HELD_BYTES
from mayfly.storage.write_watch import WriteWatch
from mayfly.system import SYSTEM

SHARD = Shard(index=2, first_row=100, rows=50)
JOB = "f" * 64
on_disk = settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
counts = st.none() | st.integers(0, MAX_TOKENS)
known = {
    "row": st.integers(100, 149),
    "finish_reason": st.none() | st.just("stop"),
    "prompt_tokens": counts,
    "completion_tokens": counts,
    "cached_tokens": counts,
    "attempts": st.integers(0, 100),
    "latency_s": st.floats(0, 1e6),
    "reasoning": st.none() | texts,
    "tool_calls": st.none() | texts,
    "dropped": st.none() | texts,
    "logprobs": st.none(),
}
failures = st.builds(
    Failure, st.just("schema"), texts, st.none() | st.integers(100, 599), texts, st.integers(0, 9)
)
answers = st.builds(
    Answer,
    response=texts,
    failure=st.none(),
    responses=st.none() | st.lists(st.none() | texts, max_size=3),
    **known,
) | st.builds(Answer, response=st.none(), failure=failures, responses=st.none(), **known)


def written(path: Path, rows: list[Answer]) -> bytes:
    path.unlink(missing_ok=True)
    with Journal(path, fingerprint=JOB, shard=SHARD) as journal:
        for answer in rows:
            journal.append(answer)
    return path.read_bytes()


def load(path: Path) -> dict[int, Answer]:
    return load_journal(path, fingerprint=JOB, shard=SHARD)


def last_of_each_row(rows: list[Answer]) -> dict[int, Answer]:
    return {answer.row: answer for answer in rows}


@on_disk
@given(rows=st.lists(answers, max_size=20))
def test_committed_answers_are_read_back(tmp_path: Path, rows: list[Answer]) -> None:
    written(path := tmp_path / "journal", rows)

    assert load(path) == last_of_each_row(rows)
    with Journal(path, fingerprint=JOB, shard=SHARD) as journal:
        assert journal.answers == last_of_each_row(rows)


@on_disk
@given(rows=st.lists(answers, min_size=1, max_size=20))
def test_lines_of_a_worker_are_read_back(tmp_path: Path, rows: list[Answer]) -> None:
    (path := tmp_path / "journal").unlink(missing_ok=True)
    with Journal(path, fingerprint=JOB, shard=SHARD) as journal:
        for some in (rows[:5], rows[5:]):
            end = journal.end
            lines = b"".join(answer_line(answer, journal.seed) for answer in some)
            journal.write_lines(lines, [answer.row for answer in some])

            assert journal.rows_since(end) == {answer.row for answer in some}
        latest = last_of_each_row(rows)
        assert journal.answers == latest
        for row, answer in latest.items():
            assert journal.answers.of_rows(row, 1) == [answer]
    assert load(path) == latest


def test_lines_beyond_the_memory_for_them_are_read_from_the_file(tmp_path: Path) -> None:
    rows = [Answer(100 + row, f"{row} " + "x" * (HELD_BYTES // 30)) for row in range(50)]
    with Journal(tmp_path / "journal", fingerprint=JOB, shard=SHARD) as journal:
        for answer in rows:
            journal.write_lines(answer_line(answer, journal.seed), [answer.row])

        assert journal.answers.of_rows(100, 50) == rows


@on_disk
@given(rows=st.lists(answers, max_size=8), data=st.data())
def test_byte_prefix_gives_a_prefix_of_the_answers(
    tmp_path: Path, rows: list[Answer], data: st.DataObject
) -> None:
    whole = written(path := tmp_path / "journal", rows)
    kept = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:kept])

    found = load(path)

    complete = max(whole[:kept].count(b"\n") - 1, 0)
    assert found == last_of_each_row(rows[:complete])


@on_disk
@given(rows=st.lists(answers, min_size=1, max_size=8), more=answers, data=st.data())
def test_torn_tail_is_repaired_and_appended_to(
    tmp_path: Path, rows: list[Answer], more: Answer, data: st.DataObject
) -> None:
    whole = written(path := tmp_path / "journal", rows)
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])

    journal, kept = open_journal(path, fingerprint=JOB, shard=SHARD)
    with journal:
        journal.append(more)

    assert load(path) == {**kept, more.row: more}
    assert path.read_bytes() == written(path, [*rows[: path.read_bytes().count(b"\n") - 2], more])


@on_disk
@given(
    rows=st.lists(answers, min_size=1, max_size=6, unique_by=lambda answer: answer.row),
    data=st.data(),
)
def test_flipped_byte_is_never_read_as_an_answer(
    tmp_path: Path, rows: list[Answer], data: st.DataObject
) -> None:
    whole = bytearray(written(path := tmp_path / "journal", rows))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)

    found = load(path)

    assert found.items() <= last_of_each_row(rows).items()
    assert len(found) >= len(rows) - 2


@pytest.mark.parametrize(
    ("job", "shard"),
    [("e" * 64, SHARD), (JOB, Shard(index=2, first_row=100, rows=51))],
    ids=["another job", "another shard"],
)
def test_journal_of_another_job_or_shard_is_refused(tmp_path: Path, job: str, shard: Shard) -> None:
    before = written(path := tmp_path / "journal", [Answer(100, "a", None)])

    with pytest.raises(BadRequest, match="another job"):
        load_journal(path, fingerprint=job, shard=shard)
    with pytest.raises(BadRequest, match="another job"):
        open_journal(path, fingerprint=job, shard=shard)
    assert path.read_bytes() == before


def test_records_of_another_job_are_ignored_under_a_damaged_header(tmp_path: Path) -> None:
    whole = written(path := tmp_path / "journal", [Answer(100, "a", None)])
    path.write_bytes(b"x" + whole[1:])

    assert load_journal(path, fingerprint="e" * 64, shard=SHARD) == {}
    assert load(path) == {100: Answer(100, "a", None)}


def test_journal_has_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path, fingerprint=JOB, shard=SHARD) as journal:
        with pytest.raises(RetryableError, match="written by another process"):
            Journal(path, fingerprint=JOB, shard=SHARD)
        journal.append(Answer(100, "a", None))

    assert load(path) == {100: Answer(100, "a", None)}


def test_missing_journal_means_no_answers(tmp_path: Path) -> None:
    assert load(tmp_path / "journal") == {}


def test_uncommitted_answers_are_not_on_disk(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", fingerprint=JOB, shard=SHARD)

    journal.append(Answer(100, "a", None))
    assert journal.waiting == 1
    assert load(tmp_path / "journal") == {}

    journal.commit()
    assert journal.waiting == 0
    assert load(tmp_path / "journal") == {100: Answer(100, "a", None)}
    journal.close()


def test_text_without_utf8_form_is_kept_where_possible(tmp_path: Path) -> None:
    written(path := tmp_path / "journal", [Answer(100, "half \ud800 pair", None)])

    assert load(path)[100].response == "half \ufffd pair"


def test_answers_appended_during_a_commit_are_kept(tmp_path: Path) -> None:
    shard = Shard(index=0, first_row=0, rows=20_000)
    path = tmp_path / "journal"
    with Journal(path, fingerprint=JOB, shard=shard) as journal:
        stop = threading.Event()

        def commit_always() -> None:
            while not stop.is_set():
                journal.commit()

        thread = threading.Thread(target=commit_always)
        thread.start()
        for row in range(shard.rows):
            journal.append(Answer(row, "a", None))
        stop.set()
        thread.join()

    assert list(load_journal(path, fingerprint=JOB, shard=shard)) == list(range(shard.rows))


def test_long_answers_are_read_from_the_file_and_not_kept_in_memory(tmp_path: Path) -> None:
    shard = Shard(index=0, first_row=0, rows=3_000)

    def answer(row: int, letter: str) -> Answer:
        return Answer(row, f"{row} {letter * 20_000}", None)

    tracemalloc.start()
    try:
        with Journal(tmp_path / "journal", fingerprint=JOB, shard=shard) as journal:
            for row in range(shard.rows):
                journal.append(answer(row, "a"))
                if row % 100 == 50:
                    journal.commit()
                if row % 1_000 == 60:  # Committed just now, and answered again.
                    journal.append(answer(row - 10, "b"))
            held, _ = tracemalloc.get_traced_memory()

            again = {row for row in range(shard.rows) if row % 1_000 == 50}
            assert len(journal.answers) == shard.rows
            for row, found in journal.answers.items():
                assert found == answer(row, "b" if row in again else "a")
    finally:
        tracemalloc.stop()
    assert held < 2 * HELD_BYTES < 3_000 * 20_000


FILL = """
import resource, signal, sys
from pathlib import Path
from mayfly.models.errors import TerminalError
from mayfly.models.failures import Failure
from mayfly.models.rows import MAX_TOKENS, Answer
from mayfly.models.shards import Shard
from mayfly.storage.journal_index import HELD_BYTES
from mayfly.storage.write_watch import WriteWatch
from mayfly.storage.journal import Journal

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
shard = Shard(index=2, first_row=100, rows=50)
journal = Journal(Path(sys.argv[1]), fingerprint="f" * 64, shard=shard)
journal.append(Answer(100, "first", None))
journal.commit()
resource.setrlimit(resource.RLIMIT_FSIZE, (600, resource.RLIM_INFINITY))
for row in range(101, 120):
    journal.append(Answer(row, "more" * 20, None))
try:
    journal.commit()
except TerminalError as error:
    print(error)
print(journal.waiting, flush=True)
if sys.argv[2] == "room again":
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    journal.close()
"""


@pytest.mark.parametrize(("then", "kept"), [("killed", 1), ("room again", 20)])
def test_full_disk_loses_no_committed_answer(tmp_path: Path, then: str, kept: int) -> None:
    path = tmp_path / "journal"

    done = subprocess.run(
        [sys.executable, "-c", FILL, str(path), then], capture_output=True, text=True, check=True
    )

    said, waiting = done.stdout.splitlines()
    assert "cannot be written" in said
    assert waiting == "19"
    assert len(load(path)) == kept
    assert path.read_bytes().count(b"\n") == kept + 1


def test_written_answer_survives_its_process_before_the_next_sync(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal"
    answer = Answer(101, "yes", None)
    journal = Journal(path, fingerprint=JOB, shard=SHARD)

    journal.append(answer)
    journal.commit(sync=False)

    assert load(path) == {101: answer}
    journal.close()


def test_slow_disk_delays_answers_and_loses_none(
    tmp_path: Path,
) -> None:
    shard = Shard(index=0, first_row=0, rows=60)
    path = tmp_path / "journal"
    opened, quick, begun = threading.Event(), threading.Event(), threading.Event()
    sync = SYSTEM.sync_data

    def slow(file: int) -> None:
        if opened.is_set():
            begun.set()
            quick.wait()
        sync(file)

    disk = Disk(system=replace(SYSTEM, sync_data=slow))
    with Journal(path, fingerprint=JOB, shard=shard, disk=disk) as journal:
        opened.set()
        journal.append(Answer(0, "a", None))
        committing = threading.Thread(target=journal.commit)
        committing.start()
        begun.wait()

        def fill() -> None:
            for row in range(1, 60):
                journal.keep_up()
                journal.append(Answer(row, "x" * 2**20, None))
                journal.commit(sync=False)

        filling = threading.Thread(target=fill)
        filling.start()
        filling.join(0.5)
        most = len(journal.answers)
        quick.set()
        committing.join()
        filling.join()

    assert most * 2**20 <= BEHIND_BYTES + 2**20
    assert len(load_journal(path, fingerprint=JOB, shard=shard)) == 60


class HeldWatch(WriteWatch):
    """A watch that holds up the writes of answers until it is told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.held, self.go = threading.Event(), threading.Event()

    def begin(self, path: Path) -> None:
        """Hold up the thread of the writer."""
        super().begin(path)
        if threading.current_thread().name == "writer":
            self.held.set()
            self.go.wait()


def test_journal_is_not_closed_during_a_write(tmp_path: Path) -> None:
    watch = HeldWatch()
    errors: list[Exception] = []

    def write() -> None:
        try:
            journal.write_lines(answer_line(Answer(100, "late"), journal.seed), [100])
        except OSError as error:
            errors.append(error)

    writer = threading.Thread(target=write, name="writer")

    def sync_data(_file: int) -> None:
        if not writer.is_alive() and not watch.held.is_set() and journal_open:
            writer.start()
            watch.held.wait()

    journal_open = False
    disk = Disk(system=replace(SYSTEM, sync_data=sync_data))
    path = tmp_path / "journal"
    journal = Journal(path, fingerprint=JOB, shard=SHARD, watch=watch, disk=disk)
    journal_open = True
    journal.append(Answer(101, "first"))
    closing = threading.Thread(target=journal.close)
    closing.start()
    watch.held.wait()
    closing.join(0.2)
    watch.go.set()
    closing.join()
    writer.join()

    assert errors == []
    assert load_journal(path, fingerprint=JOB, shard=SHARD).keys() == {100, 101}
