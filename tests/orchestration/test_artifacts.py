"""Prefect artifacts of a finished run."""

from typing import Any

from mayfly.orchestration.artifacts import report_link, result_markdown


def report(**changes: Any) -> dict[str, Any]:
    """Return the parts of a report that the result shows."""
    return {
        "rows": {"total": 300, "done": 300, "failed": 12, "remaining": 0},
        "tokens": {"prompt": 8495, "completion": 18561},
        "cost": {"usd": 0.09, "replica_minutes": 1, "usd_per_million_completion_tokens": 4.93},
        "throughput": {"rows_per_s": 708.8, "completion_tokens_per_s": 43854.9},
        "latency": {"count": 288, "p50_s": 0.09, "p99_s": 0.28},
        "job": {"model": "Qwen/Qwen2.5-7B-Instruct", "input": "data/a|b.parquet"},
        "endpoints": [{"name": "mayfly-x", "ended": "deleted (confirmed: 404)"}],
        "errors": [{"error": "HTTP 400:\n  too | long", "rows": 12, "first_row": 3}],
        "samples": [{"row": 0, "asked": {"message": "hello"}, "response": "A short\nanswer."}],
    } | changes


def test_result_shows_figures_errors_and_a_sample() -> None:
    text = result_markdown(report(), folder="/data/out", host="gpu-box")

    assert "| rows | 288 of 300 answered, 12 failed, 0 remaining |" in text
    assert "| latency | p50 0.09 s, p99 0.28 s |" in text
    assert "| cost | $0.09 for 1 replica-minute, $4.93 per million tokens out |" in text
    assert "| HTTP 400: too \\| long | 12 |" in text
    assert "> A short answer." in text


def test_result_names_folder_and_machine_as_text_without_a_link() -> None:
    text = result_markdown(report(), folder="/data/out", host="gpu-box")

    assert "gpu-box:/data/out/_mayfly/report.html" in text
    assert "file://" not in text
    assert "](" not in text


def test_result_of_a_folder_on_an_object_store_names_no_machine() -> None:
    text = result_markdown(report(), folder="s3://bucket/out", host="gpu-box")

    assert "s3://bucket/out/_mayfly/report.html" in text
    assert "gpu-box" not in text


def test_report_url_of_the_job_becomes_a_link_to_the_report() -> None:
    link = report_link("https://files.example/runs/a/")

    text = result_markdown(report(), folder="/data/out", host="gpu-box", report_url=link)

    assert "[Open the report](https://files.example/runs/a/_mayfly/report.html)" in text


def test_result_of_a_run_that_sent_nothing_says_so() -> None:
    nothing = {"rows_per_s": None, "completion_tokens_per_s": None}

    text = result_markdown(
        report(throughput=nothing, latency={"count": 0}, errors=[], samples=[], endpoints=[]),
        folder="/data/out",
        host="gpu-box",
    )

    assert "| throughput | no requests were sent |" in text
    assert "| endpoint | none was needed |" in text
