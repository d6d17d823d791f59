"""Arbitrary bytes of a server: a request has one outcome; a complete response is read unchanged."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mayfly.inference.transport.base import NoAnswer, Outcome, Reply
from mayfly.inference.transport.http1 import Http1Transport, _Connection

BODY = st.binary(max_size=300)
TOKEN = st.text("abcdefghijklmnop-", min_size=1, max_size=12)
HEADERS = st.lists(st.tuples(TOKEN, st.text('abc 123;="', max_size=20)), max_size=5)


class Socket:
    """A stand-in for a connected socket that keeps what is written."""

    def __init__(self) -> None:
        self.closed = False

    def write(self, _data: bytes) -> None:
        assert not self.closed

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, _name: str) -> Any:
        return None


def outcomes(chunks: list[bytes], *, requests: int = 1) -> tuple[list[Outcome], Socket]:
    """Return what a connection makes of chunks, and of its end after them."""

    async def run() -> tuple[list[Outcome], Socket]:
        transport = Http1Transport("http://127.0.0.1:1/v1", {})
        connection, sock, found = _Connection(transport), Socket(), list[Outcome]()
        connection.connection_made(sock)  # type: ignore[arg-type]
        for _ in range(requests):
            connection.send(b"{}", found.append)
        for chunk in chunks:
            if sock.closed:
                break
            connection.data_received(chunk)
        connection.connection_lost(None)
        await transport.close()
        return found, sock

    return asyncio.run(run())


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """Return data in pieces, cut at positions that are taken modulo its length."""
    boundaries = sorted({cut % (len(data) + 1) for cut in cuts})
    return [
        piece
        for start, end in zip([0, *boundaries], [*boundaries, len(data)], strict=True)
        if (piece := data[start:end])
    ]


def sized(body: bytes, headers: list[tuple[str, str]], status: int) -> bytes:
    lines = [f"HTTP/1.1 {status} X", *(f"x-{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, f"content-length: {len(body)}"]).encode() + b"\r\n\r\n" + body


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked + b"0\r\n\r\n"


@settings(max_examples=150)
@given(
    st.one_of(
        st.tuples(BODY, HEADERS, st.sampled_from([200, 400, 429, 503])).map(
            lambda given: (given[0], given[2], sized(*given))
        ),
        st.tuples(BODY, st.integers(1, 64)).map(lambda given: (given[0], 200, chunked(*given))),
    ),
    st.lists(st.integers(0, 10_000), max_size=12),
)
def test_response_is_read_whole_under_any_segmentation(
    answer: tuple[bytes, int, bytes], cuts: list[int]
) -> None:
    body, status, data = answer

    (outcome,), sock = outcomes(split(data, cuts))

    assert isinstance(outcome, Reply)
    assert (outcome.status, outcome.body) == (status, body)
    assert not sock.closed


@settings(max_examples=100)
@given(BODY, HEADERS, st.booleans(), st.lists(st.integers(0, 10_000), max_size=12))
def test_header_is_found_under_any_segmentation(
    body: bytes, headers: list[tuple[str, str]], continues: bool, cuts: list[int]
) -> None:
    before = b"HTTP/1.1 100 Continue\r\nx-before: 1\r\n\r\n" if continues else b""

    (outcome,), _ = outcomes(split(before + sized(body, headers, 429), cuts))

    assert isinstance(outcome, Reply)
    for name, value in reversed(dict(reversed(headers)).items()):
        assert outcome.header(f"x-{name}") == value.strip()
    assert outcome.header("content-length") == str(len(body))
    assert outcome.header("x-before") is None


@settings(max_examples=100)
@given(BODY, st.binary(min_size=1, max_size=20))
def test_response_is_kept_whatever_comes_in_its_last_segment(body: bytes, beyond: bytes) -> None:
    (outcome,), sock = outcomes([sized(body, [], 200) + beyond])

    assert isinstance(outcome, Reply)
    assert outcome.body == body
    assert sock.closed or not beyond.strip(b"\r\n")


@settings(max_examples=150)
@given(
    sized_body=BODY,
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6),
    end=st.integers(0, 10_000),
    cuts=st.lists(st.integers(0, 10_000), max_size=6),
)
def test_damaged_response_is_one_outcome(
    sized_body: bytes, edits: list[tuple[int, int]], end: int, cuts: list[int]
) -> None:
    data = bytearray(sized(sized_body, [("a", "b")], 200))
    for at, value in edits:
        data[at % len(data)] = value

    found, _ = outcomes(split(bytes(data[: end % (len(data) + 1)]), cuts))

    assert len(found) == 1
    assert isinstance(found[0], Reply | NoAnswer)


@settings(max_examples=150)
@given(st.lists(st.binary(min_size=1, max_size=200), max_size=8))
def test_arbitrary_bytes_are_one_outcome(chunks: list[bytes]) -> None:
    found, _ = outcomes(chunks)

    assert len(found) == 1


@settings(max_examples=100)
@given(BODY, BODY, st.lists(st.integers(0, 10_000), max_size=8))
def test_bytes_after_a_response_never_answer_the_next_request(
    body: bytes, more: bytes, cuts: list[int]
) -> None:
    data = sized(body, [], 200) + sized(more, [], 200)

    found, sock = outcomes(split(data, cuts))

    assert len(found) == 1
    assert isinstance(found[0], Reply | NoAnswer)
    if isinstance(found[0], Reply):
        assert found[0].body == body
    # Where the second comes in another piece, it is what closes the connection.
    assert sock.closed
