"""Duplicate rows: found in one pass, answered once, however a run ends."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mayfly.models.errors import EndpointLost
from mayfly.models.rows import Answer
from mayfly.models.shards import Shard
from mayfly.storage.dedupe_index import DuplicateIndex


def shard(first: int, rows: int, index: int = 0) -> Shard:
    return Shard(index=index, first_row=first, rows=rows)


def copies_of(path: Path, asked: list[int], key: str = "k") -> DuplicateIndex:
    path.unlink(missing_ok=True)
    return DuplicateIndex.opened(
        path, key=key, rows=[(row, bytes([what])) for row, what in enumerate(asked)]
    )


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(asked=st.lists(st.integers(0, 5), max_size=40), cut=st.integers(0, 40))
def test_duplicate_row_copies_its_first_occurrence(
    tmp_path: Path, asked: list[int], cut: int
) -> None:
    cut = min(cut, len(asked))
    duplicates = copies_of(tmp_path / "copies.sqlite", asked)

    found = duplicates.within(shard(0, cut)) | duplicates.within(shard(cut, len(asked) - cut))

    firsts = {row: asked.index(what) for row, what in enumerate(asked)}
    assert found == {row: first for row, first in firsts.items() if first != row}
    assert [path.name for path in tmp_path.iterdir()] == ["copies.sqlite"]


def test_dedupe_index_is_built_once_per_input(tmp_path: Path) -> None:
    path = tmp_path / "copies.sqlite"
    copies_of(path, [1, 1, 2])

    class Never:
        def __iter__(self) -> "Never":
            raise EndpointLost("the input was read again")

        def __next__(self) -> tuple[int, bytes]:
            raise StopIteration

    assert DuplicateIndex.opened(path, key="k", rows=Never()).within(shard(0, 3)) == {1: 0}
    with pytest.raises(EndpointLost):
        DuplicateIndex.opened(path, key="other", rows=Never())
    path.write_bytes(b"torn")
    with pytest.raises(EndpointLost):
        DuplicateIndex.opened(path, key="k", rows=Never())


def test_dedupe_keeps_only_answers_that_later_shards_copy(tmp_path: Path) -> None:
    duplicates = copies_of(tmp_path / "copies.sqlite", [1, 1, 2, 3, 2, 3])
    answers = {row: Answer(row, f"answer {row}", None, "stop", 5, 6, 7, 1, 0.5) for row in range(4)}
    first = shard(0, 4)

    assert not duplicates.has_answers_of(first)
    duplicates.keep_answers(first, answers)

    assert duplicates.has_answers_of(first)
    assert list(duplicates.answers(range(6))) == [answers[2], answers[3]]
    duplicates.forget_answers()
    assert not duplicates.has_answers_of(first)
    assert list(duplicates.answers(range(6))) == []
