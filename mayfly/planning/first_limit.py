"""The concurrency limit at which the adaptive search starts.

In order of preference: the limit at which an earlier run of the same model and hardware settled,
the platform's figure for one replica, and a default.
"""

from collections.abc import Sequence
from typing import NamedTuple

from mayfly.inference.concurrency import CEILING, FIRST_LIMIT, Source
from mayfly.models.offers import same_hardware
from mayfly.planning.measurements import Measurement

LATEST_RUNS = 3
"""Only this many of the most recent runs are used."""

QUEUE_FACTOR = 2
"""Requests beyond this multiple of a replica's capacity would only wait in its queue."""


class FirstLimit(NamedTuple):
    """A concurrency limit, its source, and the largest limit to try."""

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
    """Return the concurrency limit to start with.

    Args:
        past: Measurements of earlier runs, oldest first.
        prompt_key: Digest of prompt and sampling; runs with the same digest are preferred.
        replicas: Ready replicas.
        per_replica: Concurrent requests of one replica, if the platform publishes the figure.
    """
    ceiling = CEILING if per_replica is None else QUEUE_FACTOR * per_replica * replicas
    settled = [
        one
        for one in past
        if one.settled_limit > 0 and one.model == model and same_hardware(one.hardware, hardware)
    ]
    same_prompt = [one for one in settled if one.prompt_key == prompt_key]
    if settled:
        # Use the largest recent value: a short run may end before its limit has settled.
        latest = (same_prompt or settled)[-LATEST_RUNS:]
        found = max(one.settled_limit for one in latest) * replicas
        return FirstLimit(max(1, min(round(found), ceiling)), "history", ceiling)
    if per_replica is not None:
        return FirstLimit(per_replica * replicas, "platform", ceiling)
    return FirstLimit(FIRST_LIMIT * replicas, "guess", ceiling)
