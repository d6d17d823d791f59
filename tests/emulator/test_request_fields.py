"""Fields of a request beyond the common ones."""

import re
from typing import Any

import pytest
from together import Together

from tests.support.emulator_client import EmulatorClient, code, message, user_messages


def test_unknown_field_is_ignored_unless_the_server_is_strict(api: EmulatorClient) -> None:
    endpoint, _ = api.serve()

    lax = api.chat(endpoint["name"], min_tokens=5)
    api.emulator.change(strict_fields=True)
    strict = api.chat(endpoint["name"], min_tokens=5)

    assert lax.status_code == 200
    assert code(strict) == (400, "unknown_field")
    assert "min_tokens" in message(strict)


def test_every_field_of_the_official_schema_is_accepted(
    api: EmulatorClient, together: Together
) -> None:
    endpoint, _ = api.serve()
    api.emulator.change(strict_fields=True)

    answer = together.chat.completions.create(
        model=endpoint["name"],
        messages=user_messages(),
        max_tokens=20,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        min_p=0.1,
        repetition_penalty=1.1,
        presence_penalty=-2,
        frequency_penalty=2,
        logit_bias={"105": 1.5},
        logprobs=1,
        n=2,
        echo=False,
        seed=1,
        stop=["never said"],
        reasoning={"enabled": True},
        reasoning_effort="low",
        chat_template_kwargs={"enable_thinking": False},
        context_length_exceeded_behavior="truncate",
        safety_model="some/guard",
        compliance="hipaa",
        extra_body={"user": "me", "prompt_cache_key": "shared"},
    )

    assert len(answer.choices) == 2


@pytest.mark.parametrize("field", ["presence_penalty", "frequency_penalty"])
def test_penalty_beyond_its_range_is_refused(api: EmulatorClient, field: str) -> None:
    endpoint, _ = api.serve()

    body: dict[str, Any] = {field: 2.1}
    assert api.chat(endpoint["name"], **body).status_code == 400


def test_regex_answer_matches_its_pattern(api: EmulatorClient) -> None:
    endpoint, _ = api.serve()
    pattern = r"(yes|no): [0-9]{3}"

    answers = {
        api.chat(
            endpoint["name"], f"Q{n}", response_format={"type": "regex", "pattern": pattern}
        ).json()["choices"][0]["message"]["content"]
        for n in range(5)
    }

    assert all(re.fullmatch(pattern, answer) for answer in answers)
    assert len(answers) > 1


@pytest.mark.parametrize("pattern", ["(", None])
def test_invalid_regex_is_refused(api: EmulatorClient, pattern: str | None) -> None:
    endpoint, _ = api.serve()

    refused = api.chat(endpoint["name"], response_format={"type": "regex", "pattern": pattern})

    assert refused.status_code == 400
