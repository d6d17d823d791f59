"""The HTML report: one well-formed file without external references that escapes everything."""

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest

from mayfly.cli.render.summary import cached_text
from mayfly.models.job import Job, PromptSpec, Sampling
from mayfly.reporting.histogram import Histogram, LatencyHistogram
from mayfly.reporting.html import compared, page
from tests.support.report_data import HOSTILE, report

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Reader(HTMLParser):
    """Keeps a stack of open tags, every attribute, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Reader:
    """Parse a page (AssertionError where a tag is not closed)."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def html() -> str:
    return page(report())


@pytest.fixture(scope="module")
def reader(html: str) -> Reader:
    return read(html)


def test_page_refers_to_nothing_outside_itself(html: str, reader: Reader) -> None:
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert not [tag for tag, _ in reader.tags if tag in {"link", "iframe", "object"}]
    for tag, attributes in reader.tags:
        assert (attributes.get("src") or "data:image/").startswith("data:image/"), tag
        assert (attributes.get("href") or "#").startswith("#"), tag


def test_page_escapes_hostile_texts(html: str, reader: Reader) -> None:
    scripts = re.findall(r"<script>(.*?)</script>", html, re.S)
    images = [attributes for tag, attributes in reader.tags if tag == "img"]

    assert len(scripts) == 1
    assert "alert" not in scripts[0]
    assert [image["alt"] for image in images] == [HOSTILE]
    assert "onerror" not in str([attributes.keys() for _, attributes in reader.tags])
    # System message, tag, column, text, response, thinking, tool call, error, failed row, command.
    assert reader.text.count(HOSTILE) == 10


def test_script_of_the_page_is_the_only_one_that_its_policy_allows(html: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.S)
    (digest,) = re.findall(r"script-src 'sha256-([^']+)'", html)

    assert base64.b64decode(digest) == hashlib.sha256(script.encode()).digest()


def test_page_without_scripts_shows_every_failed_row(html: str) -> None:
    (table,) = re.findall(r'<table id="failed">(.*?)</table>', html, re.S)

    assert table.count("<tr data-kind") == 3
    assert "hidden" not in table
    assert '<form id="filter" class="filter" hidden>' in html


def test_charts_are_all_present_with_labels(reader: Reader) -> None:
    for name in ("throughput", "latency", "timeline", "per_row_prompt_tokens", "per_row_usd"):
        assert ("figure", {"id": name}) in reader.tags
    pictures = [attributes for tag, attributes in reader.tags if tag == "svg"]
    assert all(picture["role"] == "img" for picture in pictures)
    for words in ("Of 200 requests: p50 latency", "The endpoint was billed for 55 s of it"):
        assert reader.text.count(words) == 3, "as the caption, and for those who cannot see"
    for words in ("deletion confirmed (404)", "stopping (READY)", "$33.33", "per million tokens"):
        assert words in reader.text


def test_charts_are_well_formed_and_take_their_colours_from_the_page(html: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", html, re.S)

    assert len(drawings) == 3 * 2 + 3
    for svg in drawings:
        ET.fromstring(svg)  # noqa: S314 - ours
        assert not re.findall(r"#[0-9a-f]{3,6}|fill=|stroke=|id=", svg)


def test_requests_that_were_repeated_are_counted_by_reason(html: str) -> None:
    (section,) = re.findall(r'<section id="requests">(.*?)</section>', html, re.S)

    rows = re.findall(r'<th scope="row">(.*?)</th><td class="n">(.*?)</td>', section)
    assert rows == [
        ("requests sent, for 203 rows", "210"),
        ("rows with 2 requests", "5"),
        ("rows with 3 requests", "1"),
        ("repeated: HTTP 429 rate_limited", "6"),
        ("repeated: timeout", "1"),
    ]


def test_fields_that_no_column_holds_are_named(html: str) -> None:
    assert "<code>annotations</code> (4 rows)" in html


def test_environment_shows_versions_host_and_commit(reader: Reader) -> None:
    text = " ".join(reader.text.split())

    assert "mayfly 1.2.3, prefect 3.9.1, Python 3.11.7" in text
    assert "worker-3: Linux 6.1 x86_64, 2 processors" in text
    assert "0123456789ab+ (+: with changes)" in text


def test_bill_is_shown_by_phase_and_adds_up(html: str) -> None:
    (table,) = re.findall(r'<table id="paid">(.*?)</table>', html, re.S)

    shares = [float(share) for share in re.findall(r">([\d.]+) %<", table)]
    assert shares == [5.0, 60.0, 20.0, 15.0, 80.0]
    assert "slot utilisation while billed" in table


def test_estimate_is_compared_with_the_actual_figures(html: str) -> None:
    time, cost = re.findall(r"<tr>(?=<th scope=\"row\">(?:time|cost)<)(.*?)</tr>", html)

    assert re.findall(r">([^<>]+)</td>", time) == [
        "1 min 20 s",
        "40 s to 2 min 40 s",
        "1 min 18 s",
    ]
    assert 'class="good"' in time
    assert re.findall(r">([^<>]+)</td>", cost) == ["$0.20", "$0.20 to $0.30", "$0.10"]
    assert 'class="bad"' in cost


def test_share_of_cached_tokens_is_on_the_page_and_on_the_screen(reader: Reader) -> None:
    assert "10 (1.0 %)" in " ".join(reader.text.split())
    words = cached_text({"prompt": 1000, "cached": 367})
    assert words == "367 of those in (36.7 %) from the prompt cache"


def test_run_without_an_estimate_compares_none() -> None:
    assert "Estimate and actual" not in read(page(report(estimate=None))).text


def test_earlier_runs_are_beside_this_one_with_bars_of_the_largest() -> None:
    earlier = {
        "run": "r0",
        "started_at": 10.0,
        "outcome": "complete",
        "rows": 100,
        "completion_tokens_per_s": 80.0,
        "usd_per_million_tokens": 20.0,
    }
    value = report(earlier_runs=[earlier])

    runs = compared(value)

    assert [run["run"] for run in runs] == ["r0", "r1"]
    assert [run["completion_tokens_per_s_share"] for run in runs] == [100, 50]
    assert "Earlier runs of this job" in read(page(value)).text
    assert "Earlier runs of this job" not in read(page(report())).text


def test_run_that_sent_nothing_has_a_page_too() -> None:
    empty = Histogram().as_dict()
    nothing: dict[str, Any] = {
        "endpoints": [],
        "moves": [],
        "latency": LatencyHistogram().as_dict(),
        "per_row": {"prompt_tokens": empty, "completion_tokens": empty, "attempts": {}},
        "samples": [],
        "errors": [],
        "failed_rows": [],
        "finish_reasons": {},
        "series": {name: [] for name in report()["series"]},
        "throughput": {
            "rows_per_s": None, "prompt_tokens_per_s": None, "completion_tokens_per_s": None
        },
    }  # fmt: skip
    nothing["cost"] = {
        name: None if name.startswith("usd_per") else value
        for name, value in report()["cost"].items()
    }

    text = read(page(report(**nothing))).text

    assert "No endpoint was needed" in text
    assert "too short for a curve" in text


def test_endpoint_that_never_was_ready_billed_nothing() -> None:
    endpoint = {**report()["endpoints"][0], "ready_at": None, "usd": 0.0, "replica_minutes": 0}

    text = read(page(report(endpoints=[endpoint]))).text

    assert "The endpoint was billed for 0.0 s of it" in text


def test_chart_that_cannot_be_drawn_leaves_the_rest_of_the_page() -> None:
    broken = {**report()["series"], "rows": None}

    text = read(page(report(series=broken))).text

    assert "The charts could not be drawn" in text
    assert "deletion confirmed (404)" in text


def test_settings_are_called_as_options_are() -> None:
    job = Job(
        input="in.parquet",
        model="m/model",
        output="out",
        prompt=PromptSpec(image_columns=("photo", "scan")),
    )

    reader = Reader()
    reader.feed(page(report(job=job.model_dump(mode="json"))))

    assert "--imagephoto, scan" in reader.text


def test_long_settings_are_folded_behind_their_names_or_beginning() -> None:
    tools = [
        {"type": "function", "function": {"name": name, "description": "what it does " * 9}}
        for name in ("get_weather", "look_up_order")
    ]
    schema = {"type": "object", "title": "long " * 40}
    job = Job(
        input="in.parquet",
        model="m/model",
        output="out",
        prompt=PromptSpec(tools=json.dumps(tools)),
        sampling=Sampling(json_schema=json.dumps(schema), max_tokens=7),
    )

    text = page(report(job=job.model_dump(mode="json")))

    folded = re.findall(r"<details><summary><code>(.*?)</code></summary>", text)
    assert folded[0] == "get_weather, look_up_order"
    assert unescape(folded[1]).startswith('{ "type": "object", "title": "long long')
    assert len(folded) == 2
    assert "what it does what it does" in text
