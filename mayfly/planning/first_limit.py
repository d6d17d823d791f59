"""Where the search for the best number of requests in flight begins.

What an earlier run of the same model and hardware settled at is worth most, what the platform says
of a replica comes next, and a guess is a guess.
"""

from collections.abc import Sequence
from typing import NamedTuple

from mayfly.inference.concurrency import CEILING, FIRST_LIMIT, Source
from mayfly.models.offers import same_hardware
from mayfly.planning.measurements import Measurement

LATEST_RUNS = 3
"""Runs that count."""

QUEUE_FACTOR = 2
"""More than so many times what a replica takes at once only waits in its queue."""


class FirstLimit(NamedTuple):
    """A number of requests in flight, where it comes from, and the most that is ever tried."""

    limit: int
    source: Source
    ceiling: int = CEILING


def first_limit(
    past: Sequence[Measurement],
    *,
    model: str,
    hardware: str,
    prompt_key: str,
    replicas: int,
    per_replica: int | None,
) -> FirstLimit:
    """Return where to begin.

    Args:
        past: Measurements of earlier runs, oldest first.
        prompt_key: Digest of prompt and sampling; a run that asked the same counts most.
        replicas: Ready replicas.
        per_replica: Requests that one replica takes at once, if the platform says so.
    """
    ceiling = CEILING if per_replica is None else QUEUE_FACTOR * per_replica * replicas
    settled = [
        one
        for one in past
        if one.settled_limit > 0 and one.model == model and same_hardware(one.hardware, hardware)
    ]
    same_prompt = [one for one in settled if one.ask == prompt_key]
    if settled:
        # The largest of the last: a short run may end just below where it would have settled.
        latest = (same_prompt or settled)[-LATEST_RUNS:]
        found = max(one.settled_limit for one in latest) * replicas
        return FirstLimit(max(1, min(round(found), ceiling)), "history", ceiling)
    if per_replica is not None:
        return FirstLimit(per_replica * replicas, "platform", ceiling)
    return FirstLimit(FIRST_LIMIT * replicas, "guess", ceiling)
