"""Autoscaling by load, and the inactivity timeout.

Source: Together API, deployment autoscaling: a recommendation about every 60 s; up by at most
min(100 %, 4) per 15 s, down by at most min(25 %, 1) per 60 s; a lower recommendation must hold for
`scaleDownWindow` (5 minutes); 8 requests in flight per replica. `inactiveTimeout` in minutes.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from together_emulator.http.fields import duration_s
from together_emulator.state.lifecycle import Lifecycle
from together_emulator.state.store import Deployment, State, Store

EVALUATE_S = 60.0
STEP_S = 15.0
TARGET = 8.0
_DOWN_WINDOW_S = 300.0
_ENDED = (State.STOPPING, State.STOPPED, State.FAILED)
_PERCENT = "SCALING_POLICY_TYPE_PERCENT"
_DEFAULTS: Mapping[str, Sequence[tuple[str, float, float]]] = {
    "scaleUp": ((_PERCENT, 100, 15), ("pods", 4, 15)),
    "scaleDown": ((_PERCENT, 25, 60), ("pods", 1, 60)),
}
"""Kind, value and period in seconds of the limits on a change; the smallest applies."""


@dataclass(slots=True)
class _Memory:
    """State since a deployment's start: timed recommendations and changes."""

    recommended: deque[tuple[float, int]] = field(default_factory=deque)
    changed: deque[tuple[float, int]] = field(default_factory=deque)
    evaluated_s: float = -math.inf


class Autoscaler:
    """Scales every deployment from its start to its stop."""

    def __init__(self, store: Store, lifecycle: Lifecycle) -> None:
        self._store = store
        self._lifecycle = lifecycle
        lifecycle.on_start = self._watch

    def _watch(self, deployment: Deployment) -> None:
        self._later(deployment, deployment.start, _Memory())

    def _later(self, deployment: Deployment, start: int, memory: _Memory) -> None:
        smallest, largest = deployment.bounds
        delay_s = STEP_S if smallest < largest else EVALUATE_S
        idle_s = _idle_limit_s(deployment)
        if idle_s:
            left_s = deployment.last_request_s + idle_s - self._store.now_s
            delay_s = min(delay_s, left_s) if left_s > 0 else delay_s
        self._store.timeline.after(delay_s, partial(self._tick, deployment, start, memory))

    def _tick(self, deployment: Deployment, start: int, memory: _Memory) -> None:
        gone = self._store.deployments.get(deployment.id) is not deployment
        if gone or deployment.start != start or deployment.state in _ENDED:
            return
        if self._idles(deployment):
            self._lifecycle.stop(deployment)
            return
        smallest, largest = deployment.bounds
        if smallest < largest and deployment.ready:
            self._scale(deployment, memory)
        self._later(deployment, start, memory)

    def _idles(self, deployment: Deployment) -> bool:
        limit_s = _idle_limit_s(deployment)
        idle_s = self._store.now_s - deployment.last_request_s
        # Tolerance for floating-point sums.
        return bool(
            limit_s and deployment.ready and not deployment.load and idle_s >= limit_s - 1e-6
        )

    def _scale(self, deployment: Deployment, memory: _Memory) -> None:
        now_s, scaling = self._store.now_s, deployment.autoscaling
        since_s = now_s - memory.evaluated_s
        if since_s >= EVALUATE_S:
            if since_s > 2 * EVALUATE_S:
                # At the start, the current number counts as the recommendation so far.
                memory.recommended = deque([(now_s - 1, deployment.desired)])
            memory.evaluated_s = now_s
            memory.recommended.append((now_s, recommended(deployment)))
        up_s = duration_s(scaling, "scaleUpWindow") or 0.0
        down_s = duration_s(scaling, "scaleDownWindow")
        wanted = stable(
            memory.recommended,
            now_s,
            deployment.desired,
            up_s=up_s,
            down_s=_DOWN_WINDOW_S if down_s is None else down_s,
        )
        smallest, largest = deployment.bounds
        wanted = min(max(wanted, smallest), largest)
        current = deployment.desired
        if wanted == current:
            return
        name = "scaleUp" if wanted > current else "scaleDown"
        most = allowance(scaling.get(name) or {}, name, memory.changed, current, now_s)
        change = min(max(wanted - current, -most), most)
        if change:
            memory.changed.append((now_s, change))
            self._lifecycle.resize(deployment, current + change)


def _idle_limit_s(deployment: Deployment) -> float:
    """Return the idle seconds after which a deployment stops; 0 for never."""
    limits = [
        60.0 * deployment.inactive_timeout_min,
        duration_s(deployment.autoscaling, "scaleToZeroWindow") or 0.0,
    ]
    return min((limit for limit in limits if limit > 0), default=0.0)


def recommended(deployment: Deployment) -> int:
    """Return the number of replicas for the requests in flight; other metrics are ignored.

    The target is per replica, for any type; of several metrics the largest number applies.
    """
    metrics = deployment.autoscaling.get("scalingMetrics") or [
        {"name": "inflight_requests", "target": TARGET}
    ]
    wanted = [
        math.ceil(deployment.load / metric["target"])
        for metric in metrics
        if metric["name"] == "inflight_requests" and metric["target"] > 0
    ]
    return max(wanted, default=deployment.desired)


def stable(
    seen: deque[tuple[float, int]], now_s: float, current: int, *, up_s: float, down_s: float
) -> int:
    """Return the stabilised recommendation: the minimum of the up-window, the maximum of the
    down-window, and no change in between.

    Args:
        seen: Times and recommendations, oldest first; those too old for either window are dropped.
    """
    while len(seen) > 1 and seen[0][0] < now_s - max(up_s, down_s):
        seen.popleft()
    newest = seen[-1][1]
    up = min([number for at_s, number in seen if at_s >= now_s - up_s], default=newest)
    down = max([number for at_s, number in seen if at_s >= now_s - down_s], default=newest)
    if up > current:
        return up
    return down if down < current else current


def allowance(
    rules: Mapping[str, Any],
    name: str,
    changed: deque[tuple[float, int]],
    current: int,
    now_s: float,
) -> int:
    """Return the number of replicas by which a deployment may change now, at least 0.

    Args:
        rules: `scaleUp` or `scaleDown` as given; none for the platform's defaults.
        changed: Times and changes, oldest first.
    """
    select = rules.get("selectPolicy")
    if select == "SCALING_POLICY_SELECT_DISABLED":
        return 0
    given = rules.get("policies") or []
    policies = [(p["type"], p["value"], p["periodSeconds"]) for p in given] or _DEFAULTS[name]
    largest = bool(given) and select != "SCALING_POLICY_SELECT_MIN"
    sign = 1 if name == "scaleUp" else -1
    left = []
    for kind, value, period_s in policies:
        recent = sum(
            sign * change
            for at_s, change in changed
            if now_s - at_s < float(period_s) and sign * change > 0
        )
        before = current - sign * recent
        most = math.ceil(before * float(value) / 100) if kind == _PERCENT else int(value)
        left.append(max(0, max(1, most) - recent))
    return max(left) if largest else min(left)
