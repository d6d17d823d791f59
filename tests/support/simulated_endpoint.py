"""A run without a server: replicas with a true throughput, a bill by started minutes, faults.

The control that is tested is the product's own; only its environment is simulated. Rows are sent
in batches of those that a replica started at the same moment.
"""

import heapq
import math
from dataclasses import dataclass, field
from random import Random

from mayfly.billing.meter import GRACE_S, Meter
from mayfly.planning.throughput import Throughput
from mayfly.planning.uncertainty import Estimate
from mayfly.runs.autoscaler import Autoscaler, RunState

TICK_S = 3.0
POLL_EVERY_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is true, and hidden from the control.

    Attributes:
        rows_per_s: Of one replica with all slots in use.
        start_s, drain_s: Shortest and longest.
        lost_per_h: Replicas lost, per replica and hour.
        gone_at_s: When the whole endpoint vanishes, once; 0 is never.
        drift: How far the throughput wanders over an hour, as a factor's logarithm.
    """

    rows: int
    rows_per_s: float
    slots: int = 64
    start_s: tuple[float, float] = (120.0, 400.0)
    drain_s: tuple[float, float] = (5.0, 28.0)
    lost_per_h: float = 0.0
    gone_at_s: float = 0.0
    drift: float = 0.0
    price_usd_per_h: float = 6.0
    tick_s: float = TICK_S


@dataclass(slots=True)
class Replica:
    """One replica: starts, answers, drains."""

    ready_at_s: float
    speed: float
    lost_at_s: float = math.inf
    since_s: float | None = None
    in_flight: int = 0
    batches: list[tuple[float, int]] = field(default_factory=list)


class Endpoint:
    """Replicas under one name, and what they bill."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        # A stream for each kind of chance: another control meets the same scenario.
        self.speeds, self.starts, self.losses, self.drains, self.noise = (
            Random(f"{kind} {seed}") for kind in ("speed", "start", "loss", "drain", "noise")
        )
        self.desired = 0
        self.replicas: list[Replica] = []
        self.lines: list[tuple[float, float | None]] = []
        self.draining: list[tuple[float, Replica]] = []
        self.unsent = scenario.rows
        self.done = 0

    @property
    def ready(self) -> list[Replica]:
        return [replica for replica in self.replicas if replica.since_s is not None]

    @property
    def in_flight(self) -> int:
        draining = sum(replica.in_flight for _, replica in self.draining)
        return draining + sum(replica.in_flight for replica in self.replicas)

    def scale(self, now_s: float, count: int) -> None:
        """Have so many replicas: the emptiest go first, and drain."""
        self.desired = count
        while len(self.replicas) < count:
            self._start(now_s)
        self.replicas.sort(key=lambda replica: (replica.since_s is not None, replica.in_flight))
        for replica in self.replicas[: len(self.replicas) - count]:
            self.replicas.remove(replica)
            if replica.since_s is not None:
                self.draining.append((now_s + self.drains.uniform(*self.scenario.drain_s), replica))

    def _start(self, now_s: float) -> None:
        ready_at_s = now_s + self.starts.uniform(*self.scenario.start_s)
        speed = math.exp(self.speeds.gauss(0, 0.05))
        losses = self.scenario.lost_per_h / 3600
        lost_at_s = ready_at_s + self.losses.expovariate(losses) if losses else math.inf
        self.replicas.append(Replica(ready_at_s=ready_at_s, speed=speed, lost_at_s=lost_at_s))

    def vanish(self, now_s: float) -> None:
        """Be gone, rows in flight and all."""
        for replica in [*self.replicas]:
            self._lose(now_s, replica)
        self.desired = 0

    def _lose(self, now_s: float, replica: Replica) -> None:
        self.replicas.remove(replica)
        self.unsent += replica.in_flight
        if replica.since_s is not None:
            self.lines.append((replica.since_s, now_s))

    def tick(self, now_s: float, factor: float, *, sending: bool) -> None:
        """Let time pass up to `now_s`."""
        scenario = self.scenario
        for replica in self.replicas:
            if replica.since_s is None and now_s >= replica.ready_at_s:
                replica.since_s = replica.ready_at_s
        for replica in [*self.ready]:
            if now_s >= replica.lost_at_s:
                self._lose(now_s, replica)
                self._start(now_s)
        for replica in [*self.ready, *(replica for _, replica in self.draining)]:
            self._answer(replica, now_s)
        for until_s, replica in [*self.draining]:
            if now_s >= until_s and not replica.in_flight:
                self.draining.remove((until_s, replica))
                self.lines.append((replica.since_s or now_s, now_s))
        ready = self.ready
        for replica in ready:
            share = math.ceil(self.unsent / len(ready))
            take = min(scenario.slots - replica.in_flight, share, self.unsent) if sending else 0
            if take > 0:
                self.unsent -= take
                replica.in_flight += take
                filled = replica.in_flight / scenario.slots
                # Few in flight are answered sooner each: 0.4 of the full time alone.
                one_row_s = scenario.slots / (scenario.rows_per_s * replica.speed * factor)
                took_s = one_row_s * (0.4 + 0.6 * filled) * math.exp(self.noise.gauss(0, 0.15))
                heapq.heappush(replica.batches, (now_s + took_s, take))

    def _answer(self, replica: Replica, now_s: float) -> None:
        batches = replica.batches
        while batches and batches[0][0] <= now_s:
            _, rows = heapq.heappop(batches)
            replica.in_flight -= rows
            self.done += rows

    def stop(self, now_s: float) -> float:
        """End the endpoint: each replica drains; return when the last one has ended."""
        last_s = now_s
        for replica in self.ready:
            ends_s = now_s + self.drains.uniform(*self.scenario.drain_s)
            self.lines.append((replica.since_s or now_s, ends_s))
            last_s = max(last_s, ends_s)
        for until_s, replica in self.draining:
            self.lines.append((replica.since_s or now_s, max(until_s, now_s)))
            last_s = max(last_s, until_s)
        self.replicas, self.draining = [], []
        return last_s

    def usd(self) -> float:
        """The bill, as the emulator writes it: each replica's started minutes."""
        price = self.scenario.price_usd_per_h / 60
        minutes = (
            max(1, math.ceil(round((end or 0) - start, 6) / 60)) for start, end in self.lines
        )
        return sum(minutes) * price


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended."""

    usd: float
    metered_usd: float
    done: int
    ended_s: float
    answered_s: float
    action: str
    scales: int


def drive(
    scenario: Scenario,
    seed: int,
    *,
    replicas: int,
    maximum: int | None = None,
    before: Estimate | None = None,
    cap_usd: float | None = None,
    deadline_s: float | None = None,
) -> Outcome:
    """Let the product's control work through a scenario; what it may not know, it does not see."""
    price = scenario.price_usd_per_h
    meters = [Meter(price_usd_per_h=price)]
    autoscaler = Autoscaler(
        minimum=replicas if maximum is None else 1,
        maximum=replicas if maximum is None else maximum,
        wanted=replicas,
        rows_per_s=before or Estimate(scenario.rows_per_s, 0.1),
        max_cost_usd=cap_usd,
        deadline_s=deadline_s,
        replica_usd=price / 60,
        start_s=sum(scenario.start_s) / 2,
        slots=float(scenario.slots),
        throughput=Throughput(),
    )
    endpoint = Endpoint(scenario, seed)
    drifts, calls = Random(f"drift {seed}"), Random(f"call {seed}")
    endpoint.scale(0.0, replicas)
    now_s, polled_s, action, scales, seen = 0.0, -POLL_EVERY_S, "go", 0, 0
    factor, gone = 1.0, False
    while endpoint.done < scenario.rows and now_s < 100 * 3600:
        now_s += scenario.tick_s
        factor *= math.exp(drifts.gauss(0, scenario.drift * math.sqrt(scenario.tick_s / 3600)))
        endpoint.tick(now_s, factor, sending=True)
        if scenario.gone_at_s and now_s >= scenario.gone_at_s and not gone:
            gone = True
            endpoint.vanish(now_s)
        if now_s - polled_s >= POLL_EVERY_S:
            polled_s = now_s
            before_ready, seen = seen, len(endpoint.ready)
            lingers = 30.0 if seen < before_ready and scales else 0.0
            meters[-1].sample(now_s, seen, draining_s=lingers)
            if gone and not endpoint.replicas:
                meters.append(Meter(price_usd_per_h=price))
                spent = sum(meter.spent_usd(now_s) for meter in meters)
                pending = autoscaler.bounds_usd(meters[-1], now_s, autoscaler.wanted)[0]
                if cap_usd is not None and spent + pending > cap_usd:
                    action = "stop_cost"
                    break
                endpoint.scale(now_s, autoscaler.wanted)
        others = sum(meter.spent_usd(now_s) for meter in meters[:-1])
        bound, worst = autoscaler.bounds_usd(meters[-1], now_s, autoscaler.wanted)
        decision = autoscaler.decide(
            RunState(
                now_s=now_s,
                done=endpoint.done,
                left=scenario.rows - endpoint.done,
                in_flight=endpoint.in_flight,
                ready=seen,
                replica_s=sum(meter.replica_s for meter in meters),
                bound_usd=others + bound,
                worst_usd=others + worst,
            )
        )
        if decision.action == "scale":
            scales += 1
            endpoint.scale(now_s, decision.replicas)
        elif decision.action != "go":
            action = decision.action
            break
    answered_s = now_s
    if action != "go":
        while endpoint.in_flight and now_s < answered_s + GRACE_S:
            now_s += scenario.tick_s
            endpoint.tick(now_s, factor, sending=False)
    now_s = endpoint.stop(now_s + calls.uniform(0.5, 8.0))
    meters[-1].sample(now_s, 0)
    return Outcome(
        usd=endpoint.usd(),
        metered_usd=sum(meter.spent_usd(now_s) for meter in meters),
        done=endpoint.done,
        ended_s=now_s,
        answered_s=answered_s,
        action=action,
        scales=scales,
    )
