"""Embeddings: many texts in a request, an answer for each."""

import base64
from array import array
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mayfly.inference.circuit_breaker import CircuitBreaker
from mayfly.inference.embedding_batches import MAX_TEXTS, PackedTexts
from mayfly.inference.request_builder import Renderer
from mayfly.models.errors import MayflyError, TerminalError
from mayfly.models.failures import INVALID_REQUEST, NULL_PROMPT, UNREADABLE, Failure
from mayfly.models.job import PromptSpec, Sampling
from mayfly.models.rows import Answer, Tally
from tests.support.fake_transport import Served, Server, engine_on, refusal

RENDERER = Renderer(PromptSpec(embed_column="t"), Sampling(), ["t"])


def vector(text: str) -> list[float]:
    return [float(len(text)), 0.5]


def embedded(body: dict[str, Any]) -> Served:
    data = [{"index": i, "embedding": vector(text)} for i, text in enumerate(body["input"])]
    return 200, {"data": data[::-1], "usage": {"prompt_tokens": 7 * len(data)}}


def unless(bad: Callable[[str], bool]) -> Callable[[dict[str, Any]], Served]:
    def serve(body: dict[str, Any]) -> Served:
        return refusal(400, "bad text") if any(map(bad, body["input"])) else embedded(body)

    return serve


def answers_to(server: Server, texts: list[str | None]) -> tuple[dict[int, Answer], Tally]:
    kept: dict[int, Answer] = {}

    def keep(answer: Answer) -> None:
        assert answer.row not in kept
        kept[answer.row] = answer

    with engine_on(server, RENDERER.read, proven=True) as engine:

        def stop(reason: MayflyError) -> None:
            engine.stop(reason, grace_s=0)

        packed = PackedTexts(
            RENDERER.bodies("m", 0, {"t": list(texts)}, len(texts)),
            keep,
            frame=RENDERER.frame("m"),
            breaker=CircuitBreaker(),
            stop=stop,
        )
        tally = engine.answer(packed, packed.record)
    return kept, tally


def floats(answer: Answer) -> list[float]:
    return array("f", base64.b64decode(answer.response or "")).tolist()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), max_size=200))
def test_texts_get_their_own_vectors_and_nulls_an_error(texts: list[str | None]) -> None:
    server = Server(embedded)

    kept, tally = answers_to(server, texts)

    assert sorted(kept) == list(range(len(texts)))
    for row, text in enumerate(texts):
        if text is None:
            assert Failure.parse(kept[row].error or "").kind == NULL_PROMPT
        else:
            assert floats(kept[row]) == vector(text)
    sent = sum(text is not None for text in texts)
    assert len(server.bodies) == -(-sent // MAX_TEXTS)
    assert tally.done == len(texts)
    assert tally.prompt_tokens == 7 * sent


def test_bad_text_does_not_fail_its_batch() -> None:
    server = Server(unless(lambda text: text == "bad"))
    texts: list[str | None] = ["bad" if row in (5, 300) else f"text {row}" for row in range(400)]

    kept, tally = answers_to(server, texts)

    assert [row for row in sorted(kept) if kept[row].error] == [5, 300]
    failure = Failure.parse(kept[5].error or "")
    assert (failure.kind, failure.message) == (INVALID_REQUEST, "bad text")
    assert kept[5].attempts == failure.attempts == 7
    assert tally.failed == 2
    assert len(server.bodies) == 7 + 2 * 12


def test_texts_all_refused_alike_stop_the_run_early() -> None:
    server = Server(unless(lambda _text: True))

    with pytest.raises(TerminalError, match="fix the request"):
        answers_to(server, [f"text {row}" for row in range(20_000)])


def test_long_texts_are_sent_in_smaller_batches() -> None:
    server = Server(embedded)

    answers_to(server, ["x" * 50_000] * 10)

    assert [len(body["input"]) for body in server.bodies] == [2] * 5


@pytest.mark.parametrize(
    "data",
    [
        [{"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}],
        [{"index": 0, "embedding": ["x"]}, {"index": 1, "embedding": ["y"]}],
        [],
    ],
)
def test_vectors_that_do_not_match_the_texts_are_an_error(data: list[Any]) -> None:
    server = Server(lambda _body: (200, {"data": data}))

    kept, _ = answers_to(server, ["a", "b"])

    assert {Failure.parse(kept[row].error or "").kind for row in (0, 1)} == {UNREADABLE}
