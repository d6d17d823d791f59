"""The report as a page for people: one file, no network, printable, light and dark."""

import json
import math
import time
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mayfly.models.durations import short, span
from mayfly.models.job import Job

_PAGES = Path(__file__).parent / "pages"
_PAID = {
    "waiting": "ready, and nothing sent yet",
    "warming": "sent, and nothing back yet",
    "busy": "busy: every place could be filled",
    "tail": "the tail: fewer rows left than places",
    "draining": "asked to stop, not stopped yet",
    "rounding": "the rest of started minutes",
}
"""What the phases of `Usage` mean."""


def page(report: dict[str, Any]) -> str:
    """Return `report.html`. A plot that cannot be drawn is left out, and the page says so."""
    try:
        from mayfly.reporting.plots import plots  # noqa: PLC0415 - matplotlib, for this step only

        drawn, missing = plots(report), ""
    except Exception as error:  # noqa: BLE001 - the figures are in the tables all the same
        drawn, missing = {}, f"{type(error).__name__}: {error}"
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
    template = environment.get_template("report.html")
    return template.render(
        report=report,
        plots=drawn,
        missing=missing,
        asked=_asked(report["job"]),
        paid=_PAID,
        span=_span,
        usd=_usd,
    )


def _asked(job: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what was asked for, without what was left as it is by default or is shown apart."""
    default = Job(input="-", model="-", output="-").model_dump(mode="json")
    shown = []
    for group, value in job.items():
        settings = value if isinstance(value, dict) else {"": value}
        for name, setting in settings.items():
            usual = default[group].get(name) if isinstance(value, dict) else default.get(group)
            if setting != usual and (group, name) != ("prompt", "template"):
                shown.append((f"{group}.{name}".rstrip(".").replace("_", " "), _plain(setting)))
    return shown


def _plain(setting: Any) -> str:
    if isinstance(setting, dict | list):
        return json.dumps(setting, ensure_ascii=False, indent=2)
    return str(setting)


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
    # Two figures that say something, and no exponent.
    return f"${value:.{1 - math.floor(math.log10(value))}f}"
