"""The report as an HTML page: one file without network access, printable, light and dark."""

import base64
import hashlib
import json
import math
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mayfly.models.durations import short, span
from mayfly.models.job import Job
from mayfly.models.job_reference import settings as job_settings
from mayfly.reporting.charts import Chart, charts
from mayfly.reporting.progress import STEP_LABELS

LONGEST_SETTING = 120
"""Maximum length of a setting that is shown whole, in characters."""

_PAGES = Path(__file__).parent / "pages"
_PHASES = {
    "waiting": "ready, nothing sent yet",
    "warming": "sent, no response yet",
    "busy": "busy: rows waited to be sent",
    "tail": "tail: fewer rows left than slots",
    "draining": "stopping",
    "rounding": "rounding to started minutes",
}
"""Labels of the phases of `Usage`."""

_RETRIES = {
    "silence": "not connected",
    "no_answer": "connection lost",
    "timeout": "timeout",
    "unreadable": "response unreadable",
    "hedge": "sent twice, because slow (hedged)",
}
"""Labels of retries without an HTTP status."""

_SHOWN_ELSEWHERE = {
    ("prompt", "template"),
    ("prompt", "system"),
    *((name, "") for name in ("input", "model", "output", "tags")),
}


def page(report: dict[str, Any]) -> str:
    """Return `report.html`; the page says so if the charts cannot be drawn."""
    drawn, missing = _drawn(report)
    style, script = ((_PAGES / name).read_text() for name in ("report.css", "report.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(
        loader=FileSystemLoader(_PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        when=_when, span=_span, n=_number, usd=_usd, short=_short, answered=_answered
    )
    return environment.get_template("report.html").render(
        report=report,
        charts=drawn,
        missing=missing,
        style=style,
        script=script,
        digest=digest,
        settings=_settings(report["job"]),
        compared=compared(report),
        retries=_retries(report),
        paid=_PHASES,
        steps=STEP_LABELS,
        span=_span,
        usd=_usd,
    )


def _drawn(report: dict[str, Any]) -> tuple[dict[str, Chart], str]:
    try:
        return charts(report), ""
    except Exception as error:  # noqa: BLE001 - the figures are also in the tables
        return {}, f"{type(error).__name__}: {error}"


def _settings(job: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the options that differ from their defaults and are not shown elsewhere.

    Each has its name, its value, and of a long value the short form that stands for it: the names
    of tools, or else the beginning.
    """
    default = Job(input="-", model="-", output="-").model_dump(mode="json")
    options = {setting.path: setting.option for setting in job_settings()}
    shown = []
    for group, value in job.items():
        settings = value if isinstance(value, dict) and group != "tags" else {"": value}
        for name, setting in settings.items():
            known = default.get(group)
            usual = known.get(name) if isinstance(known, dict) and name else known
            if setting != usual and (group, name) not in _SHOWN_ELSEWHERE:
                path = f"{group}.{name}".rstrip(".")
                option = options.get(path)
                text = _plain(setting)
                brief = "" if len(text) <= LONGEST_SETTING else _brief(path, text)
                shown.append((path if option is None else option.flag, text, brief))
    return shown


def _brief(path: str, text: str) -> str:
    if path == "prompt.tools":
        with suppress(ValueError, KeyError, TypeError):
            return ", ".join(tool["function"]["name"] for tool in json.loads(text))
    return f"{' '.join(text[:LONGEST_SETTING].split())}..."


def _plain(setting: Any) -> str:
    if isinstance(setting, list) and all(isinstance(one, str) for one in setting):
        return ", ".join(setting)
    if isinstance(setting, dict | list):
        return json.dumps(setting, ensure_ascii=False, indent=2)
    if isinstance(setting, str) and setting.startswith(("{", "[")):
        with suppress(ValueError):
            return json.dumps(json.loads(setting), ensure_ascii=False, indent=2)
    return str(setting)


def _retries(report: dict[str, Any]) -> list[tuple[str, int]]:
    """Return the reasons for retries with their counts, most frequent first."""
    found = (report.get("retries") or {}).items()
    return [(_RETRIES.get(kind, kind), n) for kind, n in sorted(found, key=lambda pair: -pair[1])]


def compared(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return earlier runs of the same job followed by this one; empty when it is the first.

    Each has `..._share`, the length of its bar in percent of the largest, for dollars per million
    tokens and for tokens per second.
    """
    earlier = report.get("earlier_runs") or []
    if not earlier:
        return []
    this = {
        "run": report["run"],
        "started_at": report["started_at"],
        "outcome": report["outcome"],
        "hardware": ", ".join(endpoint["hardware"] for endpoint in report["endpoints"]),
        "rows": report["rows"]["this_run"],
        "completion_tokens_per_s": report["throughput"]["completion_tokens_per_s"],
        "p50_s": report["latency"]["p50_s"],
        "usd": report["cost"]["usd"],
        "usd_per_million_tokens": report["cost"]["usd_per_million_tokens"],
    }
    runs = [{name: run.get(name) for name in this} for run in earlier[-9:]] + [this]
    for name in ("completion_tokens_per_s", "usd_per_million_tokens"):
        most = max((run[name] or 0.0 for run in runs), default=0.0)
        for run in runs:
            run[f"{name}_share"] = round(100 * (run[name] or 0.0) / most) if most else 0
    return runs


def _answered(report: dict[str, Any]) -> int:
    answered: int = report["rows"]["done"] - report["rows"]["failed"]
    return answered


def _when(unix_s: float | None) -> str:
    if unix_s is None:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix_s))


def _span(seconds: float | None) -> str:
    return "-" if seconds is None else span(seconds)


def _short(seconds: float | None) -> str:
    return "-" if seconds is None else short(seconds)


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _usd(value: float | None) -> str:
    if value is None:
        return "-"
    if value >= 0.01 or value == 0:
        return f"${value:,.2f}"
    # Two significant figures, and no exponent.
    return f"${value:.{1 - math.floor(math.log10(value))}f}"
