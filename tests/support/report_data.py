"""A report of a run with hostile texts in every field that a user or a model decides."""

from typing import Any

from mayfly.models.job import Job, PromptSpec
from mayfly.reporting.histogram import Histogram, LatencyHistogram

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \"quoted\" 'too'"


def spread(*values: float) -> dict[str, Any]:
    """Return the distribution of some values."""
    histogram = Histogram(smallest=1e-6, decades=9)
    histogram.add(values)
    return histogram.as_dict()


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
        "ended": "deleted (confirmed: 404)",
        "teardown": {
            "name": "mayfly-default-0123456789-00000000",
            "line": "finally",
            "started_at": 1080.0,
            "stop_requested_at": 1080.0,
            "stopped_at": 1085.0,
            "gone_at": 1086.0,
            "not_found_read_back": True,
            "steps": ["stopping (READY)", "deleted (confirmed: 404)"],
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
        "rows": {
            "total": 203,
            "done": 203,
            "failed": 3,
            "remaining": 0,
            "resumed": 0,
            "this_run": 203,
        },
        "tokens": {"prompt": 1000, "completion": 2000, "cached": 10, "cached_share": 0.01},
        "requests": 210,
        "retries": {"HTTP 429 rate_limited": 6, "timeout": 1},
        "dropped": {"annotations": 4},
        "tags": {"team": HOSTILE},
        "retry_command": f"mayfly run in --retry-failed {HOSTILE}",
        "environment": {
            "versions": {"mayfly": "1.2.3", "prefect": "3.9.1"},
            "python": "3.11.7",
            "system": "Linux 6.1 x86_64",
            "host": "worker-3",
            "cpus": 2,
            "commit": "0123456789ab+",
        },
        "throughput": {
            "rows_per_s": 4.06,
            "prompt_tokens_per_s": 20.0,
            "completion_tokens_per_s": 40.0,
        },
        "seconds": {"previewing": 0.2, "waiting": 28.0, "inferring": 50.0, "done": 0.0},
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
        "per_row": {
            "prompt_tokens": spread(5.0, 9.0, 4.0),
            "completion_tokens": spread(10.0, 20.0, 8.0),
            "tokens": spread(15.0, 29.0, 12.0),
            "usd": spread(0.0004, 0.0007, 0.0002),
            "attempts": {"1": 197, "2": 5, "3": 1},
        },
        "samples": [
            {"row": 7, "asked": {HOSTILE: HOSTILE}, "response": HOSTILE, "reasoning": HOSTILE},
            {
                "row": 8,
                "asked": {},
                "images": [{"src": "data:image/png;base64,AAAA", "text": HOSTILE}],
                "response": None,
                "tool_calls": [HOSTILE],
            },
        ],
        "errors": [{"rows": 3, "first_row": 11, "error": HOSTILE}],
        "failed_rows": [
            {"row": 11, "class": "refused", "status": None, "attempts": 1, "message": HOSTILE},
            {"row": 12, "class": "too_long", "status": 413, "attempts": 1, "message": "long"},
            {"row": 13, "class": "too_long", "status": 413, "attempts": 1, "message": "long"},
        ],
        "phases": [
            {"phase": "previewing", "from_s": 0.0, "to_s": 2.0},
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
