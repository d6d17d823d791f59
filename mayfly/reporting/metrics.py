"""The metrics of a run, for all exporters: names, kinds and values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from mayfly.reporting.progress import Progress, Snapshot, Step

Labels = Mapping[str, str]


class Exporter(Protocol):
    """Exports a run's metrics; called in one thread, about every two seconds."""

    def update(self, progress: Progress) -> None:
        """Export the current metrics."""

    def close(self, progress: Progress) -> None:
        """Export the last metrics; the run has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric with its values.

    Attributes:
        name: Dotted name, such as `mayfly.rows.done`.
        values: Values by additional labels, as pairs.
    """

    name: str
    kind: Literal["counter", "gauge"]
    text: str
    values: Mapping[tuple[tuple[str, str], ...], float]


def metrics_of(now: Snapshot) -> list[Metric]:
    """Return the metrics of a run; counters cover this run only."""
    tally = now.tally
    return [
        _one("rows", "gauge", "Rows of the input.", now.rows),
        _one("rows.resumed", "gauge", "Rows done by earlier runs.", now.resumed.done),
        _one("rows.done", "counter", "Rows with a response or an error.", tally.done),
        _one("rows.failed", "counter", "Rows with an error.", tally.failed),
        _several(
            "tokens",
            "counter",
            "Tokens as the API counts them; cached ones are among the prompt's.",
            "type",
            {
                "prompt": tally.prompt_tokens,
                "completion": tally.completion_tokens,
                "cached": tally.cached_tokens,
            },
        ),
        _one("requests", "counter", "Requests of settled rows.", tally.requests),
        _several("retries", "counter", "Requests repeated.", "reason", now.retries),
        _one("requests.in_flight", "gauge", "Requests in flight.", now.in_flight),
        _one("requests.limit", "gauge", "Limit on requests in flight.", now.limit),
        _one("replicas.ready", "gauge", "Replicas that are ready.", now.ready_replicas),
        _one("cost_usd", "counter", "Dollars billed, by started minutes.", now.spent_usd),
        _several("step_seconds", "counter", "Seconds in each step.", "step", now.seconds),
        _one("run.active", "gauge", "1 while the run is active.", float(now.step is not Step.DONE)),
    ]


def _one(name: str, kind: Literal["counter", "gauge"], text: str, value: float) -> Metric:
    return Metric(name=f"mayfly.{name}", kind=kind, text=text, values={(): value})


def _several(
    name: str,
    kind: Literal["counter", "gauge"],
    text: str,
    label: str,
    values: Mapping[str, float],
) -> Metric:
    by_label: dict[tuple[tuple[str, str], ...], float] = {
        ((label, each),): value for each, value in values.items() if each != "done"
    }
    return Metric(name=f"mayfly.{name}", kind=kind, text=text, values=by_label)
