"""The search for the concurrency limit starts at the best known value."""

import pytest

from mayfly.inference.concurrency import CEILING, FIRST_LIMIT
from mayfly.planning.first_limit import FirstLimit, first_limit
from mayfly.planning.measurements import Measurement


def settled(
    limit: float, *, model: str = "m", hardware: str = "2x_h100", prompt_key: str = "a"
) -> Measurement:
    return Measurement(model=model, hardware=hardware, prompt_key=prompt_key, settled_limit=limit)


def begun(*past: Measurement, replicas: int = 1, per_replica: int | None = None) -> FirstLimit:
    return first_limit(
        past, model="m", hardware="2x_h100", prompt_key="a", replicas=replicas,
        per_replica=per_replica,
    )  # fmt: skip


def test_first_limit_without_data_is_a_default_per_replica() -> None:
    assert begun(replicas=3) == (3 * FIRST_LIMIT, "guess", CEILING)


def test_first_limit_is_that_of_the_platform_and_ceiling_is_twice() -> None:
    assert begun(replicas=2, per_replica=128) == (256, "platform", 512)


def test_first_limit_is_that_of_the_last_run() -> None:
    assert begun(settled(300), settled(500), replicas=2) == (1000, "history", CEILING)
    assert begun(settled(500), per_replica=100) == (200, "history", 200)


def test_first_limit_does_not_decrease_from_run_to_run() -> None:
    assert begun(settled(800), settled(250), settled(229), settled(206)).limit == 250


def test_first_limit_prefers_runs_of_the_same_prompt() -> None:
    assert begun(settled(300), settled(500, prompt_key="b")).limit == 300


@pytest.mark.parametrize(
    "other",
    [settled(500, model="n"), settled(500, hardware="1x_a100"), settled(0)],
    ids=["model", "hardware", "never settled"],
)
def test_first_limit_ignores_other_runs(other: Measurement) -> None:
    assert begun(other).source == "guess"
