"""Answers under a schema: validated, requested again, and given up after a bounded number."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from mayfly.inference.circuit_breaker import CircuitBreaker
from mayfly.inference.request_builder import Renderer
from mayfly.inference.structured_output import (
    MAX_VALIDATION_ATTEMPTS,
    SchemaChecker,
    ValidatedResponses,
)
from mayfly.models.errors import BadRequest, MayflyError, TerminalError
from mayfly.models.failures import INTERNAL, NULL_PROMPT, SCHEMA, Failure
from mayfly.models.job import PromptSpec, Sampling
from mayfly.models.rows import Answer, RowRequest, Tally
from tests.support.fake_transport import Served, Server, engine_on, refusal, said

SCHEMA_OF_ALL: dict[str, Any] = {
    "type": "object",
    "properties": {"kind": {"$ref": "#/$defs/kind"}},
    "required": ["kind"],
    "$defs": {"kind": {"enum": ["a", "b"]}},
}
GOOD, BAD = '{"kind":"a"}', '{"kind":"c"}'


def rows_of(prompts: list[str | None]) -> Iterator[RowRequest]:
    yield from RENDERER.bodies("m", 0, {"q": list(prompts)}, len(prompts))


RENDERER = Renderer(
    PromptSpec(template="{{ q }}", system="be brief"),
    Sampling(json_schema=orjson.dumps(SCHEMA_OF_ALL).decode()),
    ["q"],
)


def answers_to(
    server: Server, prompts: list[str | None], checker: SchemaChecker | None = None
) -> tuple[dict[int, Answer], Tally]:
    kept: dict[int, Answer] = {}

    def keep(answer: Answer) -> None:
        assert answer.row not in kept
        kept[answer.row] = answer

    with engine_on(server) as engine:

        def stop(reason: MayflyError) -> None:
            engine.stop(reason, grace_s=0)

        fitting = ValidatedResponses(
            rows_of(prompts),
            keep,
            checker=checker or SchemaChecker(SCHEMA_OF_ALL),
            frame=RENDERER.frame("m"),
            breaker=CircuitBreaker(),
            stop=stop,
        )
        tally = engine.answer(fitting, fitting.record)
    return kept, tally


def first_bad(body: dict[str, Any]) -> Served:
    """Answer with an invalid object at first, and with a valid one after the correction."""
    return said(GOOD if len(body["messages"]) > 2 else BAD)


def test_valid_answer_is_requested_once() -> None:
    server = Server(lambda _body: said(GOOD))

    kept, tally = answers_to(server, ["x"] * 200)

    assert len(server.bodies) == 200 == tally.done
    assert {answer.response for answer in kept.values()} == {GOOD}


def test_invalid_answer_is_requested_again_with_the_error() -> None:
    server = Server(first_bad)

    kept, tally = answers_to(server, ["x"])

    again = server.bodies[1]["messages"]
    assert [message["role"] for message in again] == ["system", "user", "assistant", "user"]
    assert again[:2] == server.bodies[0]["messages"]
    assert again[2]["content"] == BAD
    assert "at /kind" in again[3]["content"]
    assert {**server.bodies[0], "messages": 0} == {**server.bodies[1], "messages": 0}
    assert kept[0] == Answer(
        0, GOOD, None, "stop", 20, 10, 8, attempts=2, latency_s=kept[0].latency_s
    )
    assert tally == Tally(1, 0, 20, 10, 8, 2)


@pytest.mark.parametrize("answer", [BAD, "not JSON", "{}", "[1, 2]", '{"kind": "a"'])
def test_answer_that_never_fits_is_an_error_with_its_text(answer: str) -> None:
    server = Server(lambda _body: said(answer))

    kept, tally = answers_to(server, ["x"])

    failure = Failure.parse(kept[0].error or "")
    assert (failure.kind, failure.status, failure.attempts) == (
        SCHEMA,
        200,
        MAX_VALIDATION_ATTEMPTS,
    )
    assert f"the answer was {answer}" in failure.message
    assert kept[0].response is None
    assert kept[0].attempts == MAX_VALIDATION_ATTEMPTS == len(server.bodies)
    assert tally.failed == 1


def test_truncated_answer_is_not_requested_again() -> None:
    server = Server(lambda _body: said('{"kind": ', "length"))

    kept, _ = answers_to(server, ["x"])

    assert len(server.bodies) == 1
    assert "cut off at max_tokens" in (kept[0].error or "")


def test_rows_unsendable_or_refused_keep_their_own_errors() -> None:
    server = Server(
        lambda body: refusal(400, "bad") if body["messages"][1]["content"] == "y" else said(GOOD)
    )

    kept, tally = answers_to(server, ["x", None, "y"])

    assert kept[0].response == GOOD
    assert Failure.parse(kept[1].error or "").kind == NULL_PROMPT
    assert Failure.parse(kept[2].error or "").message == "bad"
    assert tally.done == 3


def test_schema_that_no_answer_fits_ends_the_run_early() -> None:
    server = Server(lambda body: said(orjson.dumps(len(body["messages"])).decode()))

    with pytest.raises(TerminalError, match="the same error, schema: HTTP 200 after 3 att"):
        answers_to(server, ["x"] * 5_000)

    assert len(server.bodies) < 3_000


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "objekt"}, "at /type"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "none"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "nothing is fetched"),
        ({"type": "string", "pattern": "("}, "regex"),
    ],
)
def test_invalid_schema_is_refused(schema: dict[str, Any], expected: str) -> None:
    with pytest.raises(BadRequest, match=expected) as caught:
        SchemaChecker(schema)

    assert "\n" not in str(caught.value)


class Broken(SchemaChecker):
    """A checker with an error of ours in it."""

    def wrong(self, text: str) -> str | None:
        raise RuntimeError(f"cannot check {text}")


def test_exception_while_validating_an_answer_settles_its_row() -> None:
    kept, tally = answers_to(Server(lambda _body: said(GOOD)), ["x"] * 20, Broken(SCHEMA_OF_ALL))

    assert (tally.done, tally.failed) == (20, 20)
    assert {one.failure.kind for one in kept.values() if one.failure} == {INTERNAL}
    assert "RuntimeError: cannot check" in (kept[0].error or "")


def test_json_in_a_fence_is_an_answer_and_is_requested_once() -> None:
    server = Server(lambda _body: said(f"```json\n{GOOD}\n```"))

    kept, _ = answers_to(server, ["x"])

    assert len(server.bodies) == 1
    assert kept[0].response == f"```json\n{GOOD}\n```"
