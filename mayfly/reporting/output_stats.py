"""Statistics of an output, read from its parts: distributions, errors, samples.

They are read once billing has ended, in batches and only the columns needed. So they cover every
runner, earlier runs into the same folder, and any number of rows.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mayfly.models.failures import Failure
from mayfly.models.manifest import Manifest
from mayfly.reporting.histogram import BINS_PER_DECADE, Histogram, LatencyHistogram
from mayfly.reporting.samples import ANSWER_COLUMNS, cut, is_answered, sample
from mayfly.storage.cells import cell_values
from mayfly.storage.object_store import StoreError
from mayfly.storage.part_batches import opened_part
from mayfly.storage.parts import label_of
from mayfly.storage.run_paths import RunPaths

SAMPLES = 5
KINDS = 10
KINDS_COUNTED = 1000
FAILED_ROWS = 200
"""Failed rows that the report lists; `dead_letters.parquet` has them all."""

_NUMBER = re.compile(r"\d+")
_COUNTED = (
    "error",
    "finish_reason",
    "latency_s",
    "attempts",
    "prompt_tokens",
    "completion_tokens",
)


@dataclass(slots=True)
class Results:
    """Statistics of the rows of an output.

    Attributes:
        latency: Latency of the answering requests, in seconds.
        prompt_tokens, completion_tokens, tokens: Per answered row; `tokens` is their sum.
        finish_reasons: Number of answers by finish reason.
        attempts: Number of rows by number of requests.
        dropped: Number of responses by field that no column holds.
        samples: A few answered rows, spread over the output; see `samples.sample`.
        kinds: Failed rows by message (ignoring numbers), each with its first row.
        failed: The first failed rows: row, class, status, attempts and message.
        rows_not_read: Rows of parts that are at an object store which could not be read.
    """

    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    prompt_tokens: Histogram = field(default_factory=Histogram)
    completion_tokens: Histogram = field(default_factory=Histogram)
    tokens: Histogram = field(default_factory=Histogram)
    finish_reasons: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    samples: list[dict[str, Any]] = field(default_factory=list)
    kinds: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: list[dict[str, Any]] = field(default_factory=list)
    rows_not_read: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values for the report."""
        return {
            "latency": self.latency.as_dict(),
            "per_row": {
                "prompt_tokens": self.prompt_tokens.as_dict(),
                "completion_tokens": self.completion_tokens.as_dict(),
                "tokens": self.tokens.as_dict(),
                "attempts": {str(sent): rows for sent, rows in sorted(self.attempts.items())},
            },
            "finish_reasons": dict(self.finish_reasons.most_common()),
            "dropped": dict(self.dropped.most_common()),
            "samples": self.samples,
            "errors": sorted(self.kinds.values(), key=lambda kind: -kind["rows"])[:KINDS],
            "failed_rows": self.failed,
            "rows_not_read": self.rows_not_read,
        }


def read_results(
    paths: RunPaths,
    manifest: Manifest,
    columns: Sequence[str],
    images: Sequence[str] = (),
) -> Results:
    """Read what the committed parts of a run's folder hold.

    Args:
        columns: The input's columns that went into the prompt, for the samples.
        images: The input's columns with images, for the samples.
    """
    results = Results()
    done = [shard for shard in manifest.shards if shard.index in manifest.done]
    every = max(1, len(done) // SAMPLES)
    for number, shard in enumerate(done):
        path = paths.part(shard.index)
        try:
            _count(results, path, shard.first_row)
            if number % every == 0 and len(results.samples) < SAMPLES:
                wanted = SAMPLES if len(done) < SAMPLES else 1
                _sample(results, path, shard.first_row, columns, images, wanted)
        except StoreError:
            results.rows_not_read += shard.rows
    return results


def _count(results: Results, path: Path, first_row: int) -> None:
    with opened_part(path) as file:
        if (label := label_of(file.metadata)) is not None:
            results.dropped.update(label.dropped)
        for batch in file.iter_batches(columns=list(_COUNTED)):
            errors, reasons, latencies, attempts, prompt, completion = (
                batch.column(name) for name in _COUNTED
            )
            _add(results.latency, latencies)
            _add(results.prompt_tokens, prompt)
            _add(results.completion_tokens, completion)
            _add(results.tokens, pc.add(pc.fill_null(prompt, 0), pc.fill_null(completion, 0)))
            for reason in pc.value_counts(reasons.drop_null()).to_pylist():
                results.finish_reasons[reason["values"]] += reason["counts"]
            for sent in pc.value_counts(attempts.drop_null()).to_pylist():
                results.attempts[sent["values"]] += sent["counts"]
            for index in pc.indices_nonzero(errors.is_valid()).to_pylist():
                _count_error(results, first_row + index, errors[index].as_py())
            first_row += batch.num_rows


def _add(histogram: Histogram, values: pa.Array) -> None:
    taken = values.filter(pc.fill_null(pc.greater(values, 0), fill_value=False)).cast(pa.float64())
    if not len(taken):
        return
    decades = pc.log10(pc.divide(taken, histogram.smallest))
    index = pc.floor(pc.multiply(decades, float(BINS_PER_DECADE))).cast(pa.int64())
    counts = {bins["values"]: bins["counts"] for bins in pc.value_counts(index).to_pylist()}
    histogram.add_bins(counts, sum_of=pc.sum(taken).as_py(), largest=pc.max(taken).as_py())


def _count_error(results: Results, row: int, error: str) -> None:
    failure = Failure.parse(error)
    # How often a row was sent makes no kind of its own.
    kind = _NUMBER.sub("#", str(failure._replace(attempts=0)))
    if kind not in results.kinds:
        if len(results.kinds) >= KINDS_COUNTED:
            kind = "other errors"
        example = {"rows": 0, "first_row": row, "error": cut(error)}
        results.kinds.setdefault(kind, example)
    results.kinds[kind]["rows"] += 1
    if len(results.failed) < FAILED_ROWS:
        results.failed.append(
            {
                "row": row,
                "class": failure.kind,
                "status": failure.status,
                "attempts": failure.attempts,
                "message": cut(failure.message),
            }
        )


def _sample(
    results: Results,
    path: Path,
    first_row: int,
    columns: Sequence[str],
    images: Sequence[str],
    wanted: int,
) -> None:
    with opened_part(path) as file:
        there = set(file.schema_arrow.names)
        asked = [name for name in columns if name in there]
        shown = [name for name in images if name in there]
        names = {*asked, *shown, *ANSWER_COLUMNS, "error"} & there
        # Images are large: no more rows of them are decoded than are likely to be needed.
        size = 8 if shown else 64
        batch = next(file.iter_batches(batch_size=size, columns=sorted(names)), None)
    if batch is None:
        return
    cells = [cell_values(column) for column in batch.columns]
    for index, values in enumerate(zip(*cells, strict=True)):
        row = dict(zip(batch.schema.names, values, strict=True))
        if wanted and len(results.samples) < SAMPLES and is_answered(row):
            wanted -= 1
            results.samples.append(sample(first_row + index, row, asked, shown))
