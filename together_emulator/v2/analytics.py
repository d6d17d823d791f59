"""Analytics of an endpoint: requests, tokens, latency, errors.

Source: Together API, GET P/endpoints/{ep}/analytics: the last 24 hours by default.
"""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from together_emulator.http.call import Call
from together_emulator.http.fields import duration_s, flag, wrong
from together_emulator.state.store import Sample, Store

_DAY_S = 86400.0
_MOST_BUCKETS = 1440


def analytics(store: Store, call: Call) -> Any:
    """GET P/endpoints/{ep}/analytics."""
    call.expect(query=("deploymentId", "startTime", "endTime", "granularity", "includeTimeSeries"))
    endpoint = store.endpoint(call.path["endpoint"])
    end_s = _time_s(store, call, "endTime", store.now_s)
    start_s = _time_s(store, call, "startTime", end_s - _DAY_S)
    bucket_s = duration_s(call.query, "granularity") or _DAY_S
    if start_s > end_s or (end_s - start_s) / bucket_s > _MOST_BUCKETS:
        raise wrong("granularity", f"at most {_MOST_BUCKETS} buckets", call.query)
    series = flag(call.query, "includeTimeSeries")
    found = list(store.deployments_of(endpoint.id))
    if "deploymentId" in call.query:
        found = [store.deployment(endpoint.id, call.query["deploymentId"])]
    span = {"startTime": store.wire_time(start_s), "endTime": store.wire_time(end_s)}

    def metrics(samples: Sequence[Sample]) -> dict[str, Any]:
        values: dict[str, Any] = {
            "endpointId": endpoint.id,
            "timeRange": span,
            "metrics": {
                "endpointId": endpoint.id,
                "timeRange": span,
                **metrics_json(samples, end_s - start_s),
            },
        }
        if series:
            values["timeSeries"] = _series(store, samples, start_s, end_s, bucket_s)
        return values

    every: list[Sample] = []
    each = []
    for deployment in found:
        samples = [s for s in deployment.samples if start_s <= s.at_s < end_s or s.at_s == end_s]
        every += samples
        each.append({"deploymentId": deployment.id, **metrics(samples)})
    return {**metrics(every), "deploymentAnalytics": each}


def metrics_json(samples: Sequence[Sample], span_s: float) -> dict[str, Any]:
    """Return the metrics of requests, without those that have no samples."""
    good = [sample for sample in samples if sample.status == 200]
    statuses = Counter(sample.status for sample in samples)
    failed = len(samples) - len(good)
    read, written = sum(s.prompt_tokens for s in good), sum(s.completion_tokens for s in good)
    rate = len(samples) / span_s if span_s else 0.0
    metrics: dict[str, Any] = {
        "requestMetrics": {
            "totalRequests": str(len(samples)),
            "successfulRequests": str(len(good)),
            "failedRequests": str(failed),
            "requestsPerSecond": rate,
            "requestsByStatusCode": {str(s): str(count) for s, count in statuses.items()},
        },
        "errorMetrics": {
            "errorRate": failed / len(samples) if samples else 0.0,
            "errorsByType": {str(s): str(n) for s, n in statuses.items() if s != 200},
        },
        "tokenMetrics": {
            "totalInputTokens": str(read),
            "totalOutputTokens": str(written),
            "avgInputTokens": read / len(good) if good else 0.0,
            "avgOutputTokens": written / len(good) if good else 0.0,
        },
        "throughputMetrics": {
            "requestsPerSecond": rate,
            "tokensPerSecond": written / span_s if span_s else 0.0,
        },
    }
    if good:
        latency: dict[str, float] = {}
        firsts, wholes = sorted(s.first_s for s in good), sorted(s.latency_s for s in good)
        between = sorted((s.latency_s - s.first_s) / max(1, s.completion_tokens) for s in good)
        for name, values in (("ttft", firsts), ("latency", wholes), ("itl", between)):
            for rank in (50, 90, 99):
                latency[f"{name}P{rank}Ms"] = 1000 * _percentile(values, rank)
        metrics["latencyMetrics"] = latency
    return metrics


def _percentile(values: Sequence[float], rank: int) -> float:
    """Return the nearest-rank percentile of sorted values."""
    return values[max(0, math.ceil(len(values) * rank / 100) - 1)]


def _series(
    store: Store, samples: Sequence[Sample], start_s: float, end_s: float, bucket_s: float
) -> list[dict[str, Any]]:
    buckets = [
        {"requests": 0.0, "inputTokens": 0.0, "outputTokens": 0.0}
        for _ in range(max(1, math.ceil((end_s - start_s) / bucket_s)))
    ]
    for sample in samples:
        bucket = buckets[min(int((sample.at_s - start_s) / bucket_s), len(buckets) - 1)]
        bucket["requests"] += 1
        bucket["inputTokens"] += sample.prompt_tokens
        bucket["outputTokens"] += sample.completion_tokens
    return [
        {"timestamp": store.wire_time(start_s + index * bucket_s), "values": values}
        for index, values in enumerate(buckets)
    ]


def _time_s(store: Store, call: Call, name: str, otherwise: float) -> float:
    text = call.query.get(name)
    if text is None:
        return otherwise
    try:
        return (datetime.fromisoformat(text) - store.clock.epoch).total_seconds()
    except (ValueError, TypeError):
        raise wrong(name, "an RFC 3339 time with a zone", text) from None
