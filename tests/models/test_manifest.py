"""The manifest: what a later run needs, and how another job is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.models.errors import BadRequest
from mayfly.models.job import Job, PromptSpec, fingerprint
from mayfly.models.manifest import Manifest, differences
from mayfly.models.rows import Tally
from mayfly.models.shards import RowGroup, plan_shards
from mayfly.storage.manifest_store import commit_manifest, load_manifest


def manifest(
    *, template: str = "{{ q }}", limit: int | None = None, content: str = "c", provider: str = "p"
) -> Manifest:
    job = Job(input="in", model="m", output="out", prompt=PromptSpec(template=template))
    identity = {**job.identity(), "limit": limit}
    return Manifest(
        fingerprint=fingerprint(identity, content, provider),
        identity=identity,
        input={"uri": "in.parquet", "fingerprint": content, "files": 1, "rows": 100},
        provider=provider,
        shards=tuple(plan_shards([RowGroup(100, 1)], shard_rows=30)),
        created_at=1000.0,
    )


tallies = st.tuples(*[st.integers(0, 2**50)] * 6).map(lambda values: Tally(*values))
records = st.dictionaries(st.text(max_size=5), st.none() | st.integers(0, 9) | st.text(max_size=5))
TEMPLATES = st.text(min_size=1, max_size=20)


@given(
    done=st.dictionaries(st.integers(0, 3), tallies),
    runs=st.lists(records, max_size=3),
    template=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
def test_manifest_round_trips_through_json(
    done: dict[int, Tally], runs: list[dict[str, Any]], template: str
) -> None:
    kept = replace(manifest(template=template), done=done, runs=tuple(runs))

    assert Manifest.from_dict(json.loads(json.dumps(kept.as_dict()))) == kept


def test_remaining_shards_are_those_not_done() -> None:
    kept = manifest().with_done(1, Tally(30, 1, 5, 6, 7, 31)).with_done(3, Tally(10, 0, 1, 1, 1, 9))

    assert [shard.index for shard in kept.left] == [0, 2]
    assert kept.tally == Tally(40, 1, 6, 7, 8, 40)
    assert kept.rows == 100


def test_manifest_keeps_runs_in_order() -> None:
    kept = manifest().with_run({"started": 1}).with_run({"started": 2})

    assert kept.runs == ({"started": 1}, {"started": 2})


def test_same_job_has_no_differences() -> None:
    assert differences(manifest(), manifest()) == []


@pytest.mark.parametrize(
    ("other", "line"),
    [
        (manifest(template="{{ b }}"), "--prompt was '{{ q }}', is '{{ b }}'"),
        (manifest(provider="local"), "provider was 'p', is 'local'"),
        (manifest(limit=5, content="d"), "--limit was unset, is 5"),
        (manifest(content="d"), "input in.parquet (100 rows) has other content than it had"),
    ],
)
def test_difference_is_named_with_both_values(other: Manifest, line: str) -> None:
    assert differences(manifest(), other) == [line]


def test_different_input_is_named_with_both() -> None:
    other = replace(manifest(content="d"), input={"uri": "b", "fingerprint": "d", "rows": 1234})

    assert differences(manifest(), other) == ["input was in.parquet (100 rows), is b (1,234 rows)"]


def test_long_values_are_shortened() -> None:
    [line] = differences(manifest(template="a" * 5_000), manifest(template="b" * 5_000))

    assert len(line) < 200
    assert "aaa..." in line


@given(TEMPLATES, TEMPLATES)
def test_difference_is_reported_exactly_when_the_job_differs(one: str, other: str) -> None:
    was, now = manifest(template=one), manifest(template=other)

    assert bool(differences(was, now)) == (was.fingerprint != now.fingerprint)


def test_committed_manifest_is_loaded_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    assert load_manifest(path) is None

    commit_manifest(path, manifest())
    commit_manifest(path, manifest().with_done(0, Tally(30)))

    assert load_manifest(path) == manifest().with_done(0, Tally(30))
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"version": 99}', b"\xff"])
def test_unreadable_manifest_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(content)

    with pytest.raises(BadRequest, match=r"manifest\.json cannot be read"):
        load_manifest(path)


def with_files(*names: str) -> Manifest:
    sources = [[name, 10, f"footer of {name}"] for name in names]
    rows = 10 * len(names)
    return replace(
        manifest(content="+".join(names)),
        input={"uri": "in", "fingerprint": "+".join(names), "rows": rows, "sources": sources},
        shards=tuple(plan_shards([RowGroup(10, 1)] * len(names), shard_rows=10)),
    )


def test_grown_input_keeps_its_shards_and_gets_more() -> None:
    old, new = with_files("b", "c"), with_files("b", "c", "a")

    grown = old.grown(new, plan_shards([RowGroup(10, 1)], shard_rows=6))

    assert old.grows_into(new)
    assert grown.shards[:2] == old.shards
    assert [(s.index, s.first_row, s.rows) for s in grown.shards[2:]] == [(2, 20, 6), (3, 26, 4)]
    assert grown.fingerprint == old.fingerprint
    assert differences(old, grown) == []
    assert Manifest.from_dict(json.loads(json.dumps(grown.as_dict()))) == grown


@pytest.mark.parametrize("files", [("b",), ("b", "c"), ("c", "b", "a"), ("b", "x", "a")])
def test_input_grows_only_by_files_that_sort_last(files: tuple[str, ...]) -> None:
    assert not with_files("b", "c").grows_into(with_files(*files))


def test_changed_files_are_named() -> None:
    old, new = with_files("a", "b", "c"), with_files("a", "c", "d", "e", "f", "g")
    changed = [
        [name, 11, footer] if name == "c" else [name, n, footer] for name, n, footer in new.sources
    ]
    new = replace(new, input={**new.input, "sources": changed})

    assert differences(old, new) == [
        "input file c has changed",
        "input file b no longer exists",
        "input file d, e, f and 1 more is new (--incremental takes new files in)",
    ]
