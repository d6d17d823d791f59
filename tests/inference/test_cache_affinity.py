"""Rows with a common prefix share a cache key; nothing else of a request changes."""

import random
import zlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.prefix_cache import PrefixCache
from mayfly.inference.cache_affinity import MAX_ROWS, with_cache_keys
from mayfly.inference.request_builder import Frame
from mayfly.models.rows import RowRequest

HEAD, TAIL = b'{"model":"m","prompt":', b',"max_tokens":5}'
FRAME = Frame(HEAD, TAIL)


def request(row: int, prompt: str, tail: bytes = TAIL) -> RowRequest:
    return RowRequest(row, HEAD + orjson.dumps(prompt) + tail)


def keys(prompts: list[str]) -> list[str | None]:
    rows = with_cache_keys((request(row, text) for row, text in enumerate(prompts)), FRAME)
    return [orjson.loads(row.body).get("prompt_cache_key") for row in rows]


def test_rows_with_a_common_prefix_share_a_cache_key() -> None:
    one, other = "a" * 600, "b" * 600

    found = keys([f"{one}?", f"{one}!", f"{other}?", f"{other}!", f"{other}."])

    assert found[0] == found[1] != found[2]
    assert found[2] == found[3] == found[4]
    assert None not in found


def test_rows_without_a_common_prefix_have_no_cache_key() -> None:
    assert keys(["c" * 600, "a" * 600 + "?", "a" * 600 + "!", "d" * 600])[::3] == [None, None]
    assert keys(["short", "short"]) == [None, None]


def test_long_group_of_rows_is_split_over_keys() -> None:
    found = keys(["a" * 600 + str(row) for row in range(3 * MAX_ROWS)])

    assert len(set(found)) == 3


def test_cache_key_is_the_same_on_another_shard() -> None:
    rows = ["a" * 600 + "1", "a" * 600 + "2"]

    assert keys(rows) == keys(["z" * 300, *rows])[1:]


def test_cache_key_set_by_the_user_is_kept() -> None:
    tail = b',"prompt_cache_key":"mine"}'
    rows = [request(row, "a" * 600, tail) for row in range(2)]

    assert list(with_cache_keys(iter(rows), FRAME)) == rows


@given(st.lists(st.text(max_size=700), max_size=20))
def test_cache_key_changes_no_order_and_no_other_field(prompts: list[str]) -> None:
    rows = [request(row, text) for row, text in enumerate(sorted(prompts))]

    found = list(with_cache_keys(iter(rows), FRAME))

    assert [row.row for row in found] == [row.row for row in rows]
    for before, after in zip(rows, found, strict=True):
        value = orjson.loads(after.body)
        value.pop("prompt_cache_key", None)
        assert value == orjson.loads(before.body)


@pytest.mark.parametrize(("replicas", "least"), [(2, 0.85), (4, 0.85)])
def test_cache_keys_keep_the_cached_share_on_several_replicas(replicas: int, least: float) -> None:
    dice = random.Random(7)
    documents = ["".join(dice.choices("abcdef gh", k=2_000)) for _ in range(100)]
    prompts = sorted(f"{document}\nQuestion {n}?" for document in documents for n in range(10))

    def share(*, keyed: bool) -> float:
        caches = [PrefixCache(100_000) for _ in range(replicas)]
        known = tokens = 0
        for text, key in zip(prompts, keys(prompts), strict=True):
            sticky = key if keyed and key is not None else text
            read, had = caches[zlib.crc32(sticky.encode()) % replicas].read(text.encode())
            known, tokens = known + had, tokens + read
        return known / tokens

    assert share(keyed=True) > max(least, share(keyed=False) + 0.05)
