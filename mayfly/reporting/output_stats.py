"""What came back, read from the parts: latencies, why answers ended, samples, errors by kind.

Read when nothing bills any longer, a batch at a time and only the columns it takes, so that it
holds for any runner, for earlier runs into the same folder, and for any number of rows.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mayfly.models.manifest import Manifest
from mayfly.reporting.histogram import BINS_PER_DECADE, SMALLEST_S, LatencyHistogram
from mayfly.storage.cells import cell_values, shown
from mayfly.storage.part_batches import opened_part
from mayfly.storage.run_paths import RunPaths

SAMPLES = 5
KINDS = 10
KINDS_COUNTED = 1000
SHOWN_CHARACTERS = 1000
"""A longer text is cut where a person reads it."""

_NUMBER = re.compile(r"\d+")


@dataclass(slots=True)
class Results:
    """What a person wants to know of the rows.

    Attributes:
        latency: Of the requests that answered.
        finish_reasons: How many answers ended for which reason.
        samples: A few answered rows, from all over the output: row, asked (by column), response.
        kinds: How many rows failed with which words (numbers aside), the first such row, and what
            it said.
    """

    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    finish_reasons: Counter[str] = field(default_factory=Counter)
    samples: list[dict[str, Any]] = field(default_factory=list)
    kinds: dict[str, dict[str, Any]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values for the report."""
        return {
            "latency": self.latency.as_dict(),
            "finish_reasons": dict(self.finish_reasons.most_common()),
            "samples": self.samples,
            "errors": sorted(self.kinds.values(), key=lambda kind: -kind["rows"])[:KINDS],
        }


def read_results(paths: RunPaths, manifest: Manifest, columns: Sequence[str]) -> Results:
    """Read what the committed parts of a run's folder hold.

    Args:
        columns: The input's columns that were asked about, for the samples.
    """
    results = Results()
    done = [shard for shard in manifest.shards if shard.index in manifest.done]
    every = max(1, len(done) // SAMPLES)
    for number, shard in enumerate(done):
        path = paths.part(shard.index)
        _count(results, path, shard.first_row)
        if number % every == 0 and len(results.samples) < SAMPLES:
            wanted = SAMPLES if len(done) < SAMPLES else 1
            _sample(results, path, shard.first_row, columns, wanted)
    return results


def _count(results: Results, path: Path, first_row: int) -> None:
    names = ["error", "finish_reason", "latency_s"]
    with opened_part(path) as file:
        for batch in file.iter_batches(columns=names):
            errors, reasons, latencies = (batch.column(name) for name in names)
            _count_latencies(results.latency, latencies)
            for reason in pc.value_counts(reasons.drop_null()).to_pylist():
                results.finish_reasons[reason["values"]] += reason["counts"]
            for index in pc.indices_nonzero(errors.is_valid()).to_pylist():
                _count_error(results, first_row + index, errors[index].as_py())
            first_row += batch.num_rows


def _count_latencies(histogram: LatencyHistogram, latencies: pa.Array) -> None:
    taken = latencies.filter(pc.greater(latencies, 0.0))
    if not len(taken):
        return
    index = pc.floor(
        pc.multiply(pc.log10(pc.divide(taken, SMALLEST_S)), float(BINS_PER_DECADE))
    ).cast(pa.int64())
    counts = {bins["values"]: bins["counts"] for bins in pc.value_counts(index).to_pylist()}
    histogram.add_bins(counts, sum_s=pc.sum(taken).as_py(), largest_s=pc.max(taken).as_py())


def _count_error(results: Results, row: int, error: str) -> None:
    kind = _NUMBER.sub("#", error)
    if kind not in results.kinds:
        if len(results.kinds) >= KINDS_COUNTED:
            kind = "other errors"
        example = {"rows": 0, "first_row": row, "error": _cut(error)}
        results.kinds.setdefault(kind, example)
    results.kinds[kind]["rows"] += 1


def _sample(
    results: Results, path: Path, first_row: int, columns: Sequence[str], wanted: int
) -> None:
    with opened_part(path) as file:
        there = [name for name in columns if name in file.schema_arrow.names]
        batch = next(file.iter_batches(batch_size=64, columns=[*there, "response"]), None)
    if batch is None:
        return
    columns_read = [cell_values(column) for column in batch.columns]
    for index, cells in enumerate(zip(*columns_read, strict=True)):
        row = dict(zip(batch.schema.names, cells, strict=True))
        if wanted and len(results.samples) < SAMPLES and row["response"] is not None:
            wanted -= 1
            asked = {name: _cut(shown(row[name])) for name in there}
            answer = {
                "row": first_row + index,
                "asked": asked,
                "response": _cut(row["response"]),
            }
            results.samples.append(answer)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
