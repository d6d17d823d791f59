"""Prefix order: rows with common prefixes are adjacent, none lost, windows bounded."""

import random
from collections import OrderedDict
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from mayfly.inference.prefix_order import WINDOW_ROWS, by_prefix
from mayfly.inference.request_builder import Frame
from mayfly.models.rows import RowRequest

FRAME = Frame(b"head", b"tail")


def requests(texts: Iterable[bytes]) -> list[RowRequest]:
    return [RowRequest(row, b"head" + text + b"tail") for row, text in enumerate(texts)]


@given(st.lists(st.binary(max_size=3), max_size=600))
def test_prefix_order_sends_each_row_once_within_a_window(texts: list[bytes]) -> None:
    in_order = requests(texts)

    sent = list(by_prefix(iter(in_order), FRAME))

    assert sorted(sent) == in_order
    assert all(abs(position - request.row) < WINDOW_ROWS for position, request in enumerate(sent))


def test_prefix_order_of_equal_prefixes_is_input_order() -> None:
    sent = list(by_prefix(iter(requests([b"b", b"a", b"b", b"a"])), FRAME))

    assert [request.row for request in sent] == [1, 3, 0, 2]


def hits(sent: Iterable[RowRequest], cache_size: int) -> int:
    """Count the rows whose document a cache of so many documents still has."""
    cache: OrderedDict[bytes, None] = OrderedDict()
    found = 0
    for request in sent:
        document = request.body[:40]
        found += document in cache
        cache[document] = None
        cache.move_to_end(document)
        if len(cache) > cache_size:
            cache.popitem(last=False)
    return found


def test_shuffled_input_hits_a_small_cache_as_sorted_input_does() -> None:
    texts = [b"document %026d, question %d" % (row % 400, row) for row in range(8_000)]
    random.Random(7).shuffle(texts)
    in_order = requests(texts)

    sorted_hits = hits(by_prefix(iter(in_order), FRAME), cache_size=20)

    assert hits(in_order, cache_size=20) < 0.1 * len(in_order)
    assert sorted_hits > 0.7 * len(in_order)
