"""The metrics of a run as a file in Prometheus's text format, as node_exporter collects them.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4);
https://github.com/prometheus/node_exporter#textfile-collector (files are replaced by rename).
"""

import re
from collections.abc import Mapping
from pathlib import Path

from mayfly.reporting.metrics import metrics_of
from mayfly.reporting.progress import Progress, Snapshot

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_]")


def labels_of(*, run: str, model: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of all metrics of a run; tags are named `tag_KEY`."""
    named = {f"tag_{_NOT_IN_NAMES.sub('_', key)}": value for key, value in tags.items()}
    return {"run": run, "model": model, **named}


def exposition(now: Snapshot, labels: Mapping[str, str]) -> str:
    """Return the metrics of a run in the text format; counters' names end in `_total`."""
    lines = []
    for metric in metrics_of(now):
        if not metric.values:
            continue
        name = metric.name.replace(".", "_") + ("_total" if metric.kind == "counter" else "")
        lines += [f"# HELP {name} {metric.text}", f"# TYPE {name} {metric.kind}"]
        for further, value in metric.values.items():
            pairs = {**labels, **dict(further)}.items()
            shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in pairs)
            lines.append(f"{name}{{{shown}}} {value:.10g}")
    return "\n".join(lines) + "\n"


class PrometheusFile:
    """Writes the metrics of a run to a file; the last ones remain when it has ended."""

    def __init__(self, path: Path, labels: Mapping[str, str]) -> None:
        self._path, self._labels = path, labels

    def update(self, progress: Progress) -> None:
        """Write the current metrics; a reader sees either the old or the new file."""
        new = self._path.with_suffix(".prom.tmp")
        new.write_text(exposition(progress.snapshot(), self._labels), encoding="utf-8")
        new.replace(self._path)

    def close(self, progress: Progress) -> None:
        """Write the last metrics."""
        self.update(progress)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
