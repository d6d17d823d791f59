"""The report for people: one well-formed file that refers to nothing and escapes everything."""

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any

import pytest

from mayfly.cli.render.summary import cached_words
from mayfly.models.job import Job, PromptSpec
from mayfly.reporting.histogram import LatencyHistogram
from mayfly.reporting.html import page

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \"quoted\" 'too'"
VOID = {"meta", "link", "br", "img", "input", "hr"}


def report(**changes: Any) -> dict[str, Any]:
    """Return a report of a run of 90 s; changes replace top-level keys."""
    latency = LatencyHistogram()
    latency.add([0.05 * 1.02**i for i in range(200)])
    job = Job(input="in.parquet", model="m/model", output="out", prompt=PromptSpec(system=HOSTILE))
    endpoint = {
        "name": "mayfly-default-0123456789-00000000",
        "hardware": "1xnvidia-h100-80gb",
        "price_usd_per_h": 6.0,
        "created_at": 1002.0,
        "ready_at": 1030.0,
        "replica_minutes": 1,
        "usd": 0.1,
        "ended": "gone; the API answers 404 for it",
        "teardown": {
            "name": "mayfly-default-0123456789-00000000",
            "line": "finally",
            "started_at": 1080.0,
            "stop_requested_at": 1080.0,
            "stopped_at": 1085.0,
            "gone_at": 1086.0,
            "not_found_read_back": True,
            "steps": ["asked it to stop (READY)", "it is gone: the API answers 404"],
        },
    }
    at_s = [30.0 + i for i in range(50)]
    value = {
        "run": "r1",
        "outcome": "errors",
        "started_at": 1000.0,
        "ended_at": 1090.0,
        "job": job.model_dump(mode="json"),
        "output": "out",
        "rows": {"total": 203, "done": 203, "failed": 3, "remaining": 0, "resumed": 0},
        "tokens": {"prompt": 1000, "completion": 2000, "cached": 10, "cached_share": 0.01},
        "requests": 210,
        "throughput": {"rows_per_s": 4.06, "completion_tokens_per_s": 40.0},
        "seconds": {"looking": 0.2, "waiting": 28.0, "inferring": 50.0, "done": 0.0},
        "cost": {
            "usd": 0.1,
            "replica_minutes": 1,
            "usd_per_row": 0.0005,
            "usd_per_million_completion_tokens": 50.0,
            "usd_per_million_tokens": 33.33,
            "usd_all_runs": 0.1,
            "billing_assumption": "every started minute of a ready replica",
            "by_phase": {"waiting": 0.005, "busy": 0.06, "tail": 0.02, "rounding": 0.015},
            "utilisation": 0.8,
        },
        "estimate": {
            "basis": ["answers guessed", "catalogue"],
            "seconds": {"low": 40.0, "mid": 80.0, "high": 160.0, "actual": 78.2, "held": True},
            "usd": {"low": 0.2, "mid": 0.2, "high": 0.3, "actual": 0.1, "held": False},
        },
        "endpoints": [endpoint],
        "moves": ["2xnvidia-h100-80gb had no room"],
        "latency": latency.as_dict(),
        "finish_reasons": {"stop": 200},
        "samples": [{"row": 7, "asked": {HOSTILE: HOSTILE}, "response": HOSTILE}],
        "errors": [{"rows": 3, "first_row": 11, "error": HOSTILE}],
        "phases": [
            {"phase": "looking", "from_s": 0.0, "to_s": 2.0},
            {"phase": "waiting", "from_s": 2.0, "to_s": 30.0},
            {"phase": "inferring", "from_s": 30.0, "to_s": 80.0},
            {"phase": "tearing_down", "from_s": 80.0, "to_s": 86.0},
        ],
        "series": {
            "at_s": at_s,
            "rows": [4.0 * i for i in range(50)],
            "failed": [0.0] * 50,
            "prompt_tokens": [20.0 * i for i in range(50)],
            "completion_tokens": [40.0 * i for i in range(50)],
            "in_flight": [16.0] * 50,
            "limit": [32.0] * 50,
            "replicas": [1.0] * 50,
        },
    }
    return {**value, **changes}


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


def test_the_page_refers_to_nothing_outside_itself(html: str, reader: Reader) -> None:
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", html)
    assert not [tag for tag, _ in reader.tags if tag in {"script", "link", "img", "iframe"}]
    for tag, attributes in reader.tags:
        assert "src" not in attributes, tag
        assert (attributes.get("href") or "#").startswith("#"), tag


def test_what_rows_and_models_say_is_shown_and_never_run(html: str, reader: Reader) -> None:
    assert "<script" not in html
    assert "<img" not in html
    # The template's system message, the sample's column, its text and its answer, the error.
    assert reader.text.count(HOSTILE) == 5


def test_every_figure_is_there_with_its_words(reader: Reader) -> None:
    for figure in ("pace", "latency", "timeline"):
        assert ("figure", {"id": figure}) in reader.tags
    pictures = [attributes for tag, attributes in reader.tags if tag == "svg"]
    assert len(pictures) == 3
    assert all(picture["role"] == "img" for picture in pictures)
    for words in ("Half of 200 answers came within", "The endpoint billed for 55 s of it"):
        assert reader.text.count(words) == 2, "as the caption, and for those who cannot see"
    for words in ("404 read back", "asked it to stop (READY)", "$33.33", "per million tokens"):
        assert words in reader.text


def test_the_bill_is_told_by_phase_and_adds_up(html: str) -> None:
    (told,) = re.findall(r'<table id="paid">(.*?)</table>', html, re.S)

    shares = [float(share) for share in re.findall(r">([\d.]+) %<", told)]
    assert shares == [5.0, 60.0, 20.0, 15.0, 80.0]
    assert "busy: every place could be filled" in told


def test_the_plan_is_held_against_what_came_of_it(html: str) -> None:
    time, cost = re.findall(r"<tr>(?=<th scope=\"row\">(?:time|cost)<)(.*?)</tr>", html)

    assert re.findall(r">([^<>]+)</td>", time) == [
        "1 min 20 s",
        "40 s and 2 min 40 s",
        "1 min 18 s",
    ]
    assert 'class="good"' in time
    assert re.findall(r">([^<>]+)</td>", cost) == ["$0.20", "$0.20 and $0.30", "$0.10"]
    assert 'class="bad"' in cost


def test_the_share_of_the_prompts_that_the_cache_had_is_on_the_page_and_on_the_screen(
    reader: Reader,
) -> None:
    assert "10 (1.0 %)" in " ".join(reader.text.split())
    words = cached_words({"prompt": 1000, "cached": 367})
    assert words == "367 of those in (36.7 %) from the prompt cache"


def test_a_run_without_a_plan_of_its_own_has_nothing_to_compare() -> None:
    assert "The plan against" not in read(page(report(estimate=None))).text


def test_the_plots_are_sound_and_their_names_do_not_clash(html: str) -> None:
    drawings = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.S)]  # noqa: S314
    names = [e.get("id") for drawing in drawings for e in drawing.iter() if e.get("id")]

    assert len(drawings) == 3
    assert len(names) == len(set(names))


def test_the_plots_take_their_colours_from_the_page(html: str) -> None:
    for svg in re.findall(r"<svg.*?</svg>", html, re.S):
        assert re.findall(r"#[0-9a-f]{6}", svg) == []
        assert "var(--soft)" in svg


def test_a_run_that_rented_and_sent_nothing_has_a_page_too() -> None:
    nothing: dict[str, Any] = {
        "endpoints": [],
        "moves": [],
        "latency": LatencyHistogram().as_dict(),
        "samples": [],
        "errors": [],
        "finish_reasons": {},
        "series": {name: [] for name in report()["series"]},
        "throughput": {"rows_per_s": None, "completion_tokens_per_s": None},
    }
    nothing["cost"] = {
        name: None if name.startswith("usd_per") else value
        for name, value in report()["cost"].items()
    }

    text = read(page(report(**nothing))).text

    assert "No endpoint was needed" in text
    assert "Too little was sent for a curve" in text


def test_an_endpoint_that_never_was_ready_billed_nothing() -> None:
    endpoint = {**report()["endpoints"][0], "ready_at": None, "usd": 0.0, "replica_minutes": 0}

    text = read(page(report(endpoints=[endpoint]))).text

    assert "The endpoint billed for 0.0 s of it" in text


def test_a_plot_that_cannot_be_drawn_leaves_the_rest_of_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mayfly.reporting.plots.Figure", None)

    text = read(page(report())).text

    assert "The plots could not be drawn" in text
    assert "404 read back" in text
