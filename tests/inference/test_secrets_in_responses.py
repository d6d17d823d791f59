"""A key quoted by the server is masked in answers and errors."""

import orjson

from mayfly.inference.engine import Engine
from mayfly.inference.settings import EngineSettings, Target
from mayfly.models.rows import Answer, RowRequest
from tests.support.fake_transport import Server, refusal, said

KEY = "tgp_v1_0123456789abcdef"


def answers_of(server: Server) -> list[Answer]:
    """Answer two rows by an engine with a key."""
    target = Target(url="", headers={"Authorization": f"Bearer {KEY}"})
    found: list[Answer] = []
    with Engine(
        target=target, settings=EngineSettings(concurrency=2), transport=lambda: server
    ) as engine:
        requests = [RowRequest(row, orjson.dumps({"row": row})) for row in range(2)]
        engine.answer(requests, found.append)
    return found


def test_key_in_an_error_is_masked() -> None:
    answers = answers_of(Server(lambda _body: refusal(400, f"bad header: Bearer {KEY}")))

    assert len(answers) == 2
    assert all("[masked]" in str(answer.failure) for answer in answers)
    assert KEY not in str(answers)


def test_key_in_an_answer_is_masked() -> None:
    answers = answers_of(Server(lambda _body: said(f"your headers: {KEY}")))

    assert {answer.response for answer in answers} == {"your headers: [masked]"}
