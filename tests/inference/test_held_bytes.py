"""Requests in flight use bounded memory at any limit."""

import gc
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from mayfly.inference.row_stream import AHEAD_BYTES, HELD_BYTES, Row, RowStream
from mayfly.models.rows import Answer, RowRequest
from tests.support.fake_transport import Server, engine_on, said


def requests(size: int) -> Iterator[RowRequest]:
    body = bytes(size)
    row = 0
    while True:
        yield RowRequest(row, body)
        row += 1


def fill(stream: RowStream, limit: int, elsewhere: int = 0) -> None:
    while stream.feed(limit, elsewhere):
        pass


@given(mb=st.floats(0.05, 20), limit=st.integers(1, 5000))
def test_held_rows_have_bounded_bytes_at_any_limit(mb: float, limit: int) -> None:
    size = int(mb * 2**20)
    stream = RowStream(requests(size), lambda _answer: None)

    fill(stream, limit)

    assert stream.unrecorded >= 1
    # Before the first rows are seen, their size is not known.
    assert stream.held_bytes <= HELD_BYTES + AHEAD_BYTES + 2 * size


def test_held_bytes_count_all_streams_and_allow_one_row() -> None:
    stream = RowStream(requests(2**20), lambda _answer: None)

    fill(stream, 1000, elsewhere=10 * HELD_BYTES)

    assert stream.unrecorded >= 1
    # Before the first rows are seen, their size is not known.
    assert stream.held_bytes <= AHEAD_BYTES + 2 * 2**20
    stream.record()
    for row in range(stream.unrecorded):
        stream.answers.append(Answer(row, "x", None))
    stream.record()
    assert stream.unrecorded == 0
    fill(stream, 1000, elsewhere=10 * HELD_BYTES)
    assert 1 <= stream.unrecorded <= 2


def test_small_rows_are_bounded_by_count_only() -> None:
    stream = RowStream(requests(1000), lambda _answer: None)

    fill(stream, 1000)

    assert stream.unrecorded > 1000


def test_full_stream_continues_when_answers_arrive() -> None:
    stream = RowStream(requests(2**20), lambda _answer: None)
    fill(stream, 1000)
    full = stream.unrecorded
    stream.arrived.clear()

    for row in range(full // 2):
        stream.answers.append(Answer(row, "x", None))
    stream.record()

    assert stream.arrived.is_set()
    fill(stream, 1000)
    assert stream.unrecorded > full // 2


def test_answered_rows_release_their_requests() -> None:
    rows = (RowRequest(row, b'{"row":%d}' % row) for row in range(40))

    gc.collect()  # Rows of earlier tests.
    gc.disable()  # What only the collector frees is kept for as long as it likes.
    try:
        with engine_on(Server(lambda _body: said("yes"))) as engine:
            tally = engine.answer(rows, lambda _answer: None)
            known = [one.body for one in gc.get_objects() if type(one) is Row]
    finally:
        gc.enable()

    assert tally.done == 40
    assert not [body for body in known if body.startswith(b'{"row":')]
