"""The life cycle of deployments: state transitions, and the steps of replicas.

Source: Together API, deployment states. The transitions are inferred from its documentation.
"""

from collections.abc import Callable
from functools import partial

from together_emulator.http.errors import bad_request
from together_emulator.state.billing import LedgerLine
from together_emulator.state.store import Deployment, Replica, State, Step, Store

LEGAL: dict[State, frozenset[State]] = {
    State.PROVISIONING: frozenset({State.SCALING, State.DEGRADED, State.FAILED, State.STOPPING}),
    State.SCALING: frozenset({State.READY, State.DEGRADED, State.FAILED, State.STOPPING}),
    State.READY: frozenset({State.SCALING, State.DEGRADED, State.STOPPING}),
    State.DEGRADED: frozenset({State.SCALING, State.READY, State.FAILED, State.STOPPING}),
    State.STOPPING: frozenset({State.STOPPED, State.FAILED}),
    State.STOPPED: frozenset({State.PROVISIONING}),
    State.FAILED: frozenset(),
}

NO_CAPACITY = "Cannot place replicas: insufficient GPU capacity"
_PRESENT = (Step.SCHEDULING, Step.WAITING, Step.STARTING, Step.READY)


class IllegalTransition(Exception):
    """A bug of the emulator: a state transition that is not allowed."""


class Lifecycle:
    """Changes the states of deployments over time and on requests."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._failures: dict[str, str] = {}
        self.on_replicas: Callable[[Deployment], None] = lambda deployment: None  # noqa: ARG005
        self.on_start: Callable[[Deployment], None] = lambda deployment: None  # noqa: ARG005
        store.capacity.on_free(self._place_waiting)

    def begin(self, deployment: Deployment) -> None:
        """Start a new deployment: provisioning, or stopped with 0 replicas.

        The deployment is in the store already.
        """
        now = self._store.now_s
        smallest, _ = deployment.bounds
        deployment.state = State.STOPPED if smallest == 0 else State.PROVISIONING
        deployment.message = "0 replicas" if smallest == 0 else "Scheduling replicas"
        deployment.history.append((now, deployment.state, deployment.message))
        if smallest:
            self._start(deployment)

    def set_bounds(self, deployment: Deployment, smallest: int, largest: int) -> None:
        """Apply new bounds on replicas: start, scale or stop (400 if the state forbids it).

        Source: Together API, PATCH deployment; 0/0 stops.
        """
        state = deployment.state
        if largest > 0 and state is State.STOPPING:
            raise bad_request("the deployment must be stopped before it can be restarted")
        if largest > 0 and state is State.FAILED:
            raise bad_request("a failed deployment cannot be restarted; create a new deployment")
        deployment.bounds = (smallest, largest)
        if largest == 0:
            if state not in (State.STOPPED, State.FAILED, State.STOPPING):
                self._resize(deployment, 0)
        elif state is State.STOPPED:
            self._move(deployment, State.PROVISIONING, "Scheduling replicas")
            self._start(deployment)
        else:
            self._resize(deployment, min(max(deployment.desired, smallest), largest))

    def resize(self, deployment: Deployment, replicas: int) -> None:
        """Set the number of replicas within the bounds; called by the autoscaler."""
        smallest, largest = deployment.bounds
        self._resize(deployment, min(max(replicas, smallest), largest))

    def stop(self, deployment: Deployment) -> None:
        """Stop a deployment, like 0/0; no effect if it has stopped or failed."""
        self.set_bounds(deployment, 0, 0)

    def lose_replica(self, deployment: Deployment) -> bool:
        """Remove one ready replica, like a node failure; return whether there was one."""
        for replica in deployment.replicas:
            if replica.step is Step.READY:
                self._remove(deployment, replica)
                self._add_replica(deployment, replaces=True)
                self._refresh(deployment)
                return True
        return False

    def fail_next_start(self, deployment: Deployment, message: str) -> None:
        """Make the current start (or the next one) end in FAILED, with a message."""
        self._failures[deployment.id] = message

    def fail(self, deployment: Deployment, message: str) -> None:
        """Put a deployment in FAILED: its replicas are removed at once and not billed."""
        self._remove_all(deployment)
        deployment.desired = 0
        self._move(deployment, State.FAILED, message)

    def forget(self, deployment: Deployment) -> None:
        """Remove a deployment with its replicas."""
        self._remove_all(deployment)
        self._store.deployments.pop(deployment.id, None)
        self.on_replicas(deployment)

    def _start(self, deployment: Deployment) -> None:
        deployment.start += 1
        deployment.last_request_s = self._store.now_s
        self._store.timeline.after(
            self._store.settings.ready_timeout_s,
            partial(self._give_up, deployment, deployment.start),
        )
        self._resize(deployment, deployment.bounds[0])
        self.on_start(deployment)

    def _give_up(self, deployment: Deployment, start: int) -> None:
        stuck = (State.PROVISIONING, State.SCALING, State.DEGRADED)
        if deployment.start == start and not deployment.ever_ready and deployment.state in stuck:
            self.fail(deployment, "Timed out waiting for readiness")

    def _resize(self, deployment: Deployment, replicas: int) -> None:
        before, deployment.desired = deployment.desired, replicas
        present = [replica for replica in deployment.replicas if replica.step in _PRESENT]
        for _ in range(replicas - len(present)):
            self._add_replica(deployment, replaces=False)
        # Replicas with the fewest requests are removed first.
        present.sort(key=lambda replica: (_PRESENT.index(replica.step), replica.in_flight))
        for replica in present[: max(0, len(present) - replicas)]:
            self._retire(deployment, replica)
        if before != replicas:
            self._store.event(
                deployment.endpoint_id,
                "deployment.scaled",
                f"scaled from {before} to {replicas} replicas",
                deployment_id=deployment.id,
                oldReplicas=before,
                newReplicas=replicas,
            )
        self._refresh(deployment)

    def _add_replica(self, deployment: Deployment, *, replaces: bool) -> None:
        replica = Replica(id=self._store.ids.new("rep"), replaces=replaces)
        deployment.replicas.append(replica)
        self._store.timeline.after(
            self._store.settings.schedule_s, partial(self._place, deployment, replica)
        )

    def _place(self, deployment: Deployment, replica: Replica) -> None:
        if replica.step not in (Step.SCHEDULING, Step.WAITING):
            return
        if self._fails_now(deployment):
            return
        store = self._store
        region = store.capacity.take(
            deployment.hardware,
            deployment.regions,
            required=deployment.regions_required,
            hipaa=deployment.hipaa,
        )
        if region is None:
            replica.step = Step.WAITING
        else:
            replica.region, replica.step = region, Step.STARTING
            seen = (deployment.revision, region)
            factor = store.settings.start_factor
            if seen in store.weights_seen:
                factor *= store.settings.warm_factor
            delay_s = deployment.config.profile.cold_start_s * factor
            store.timeline.after(delay_s, partial(self._serve, deployment, replica))
        self._refresh(deployment)

    def _place_waiting(self) -> None:
        for deployment in list(self._store.deployments.values()):
            for replica in list(deployment.replicas):
                if replica.step is Step.WAITING:
                    self._place(deployment, replica)

    def _serve(self, deployment: Deployment, replica: Replica) -> None:
        if replica.step is not Step.STARTING or replica.region is None:
            return
        if self._fails_now(deployment):
            return
        store = self._store
        if not deployment.ready:
            # The idle time starts when the deployment can serve.
            deployment.last_request_s = store.now_s
        store.weights_seen.add((deployment.revision, replica.region))
        replica.step, replica.replaces, replica.bills = Step.READY, False, True
        replica.ready_s = store.now_s
        deployment.ever_ready = True
        endpoint = store.endpoints[deployment.endpoint_id]
        store.ledger.open(
            LedgerLine(
                endpoint_id=endpoint.id,
                endpoint_name=f"{store.slug}/{endpoint.name}",
                deployment_id=deployment.id,
                replica_id=replica.id,
                hardware=deployment.hardware,
                price_cents_per_h=deployment.price_cents_per_h,
                started_s=store.now_s,
            )
        )
        self._refresh(deployment)
        self.on_replicas(deployment)

    def _fails_now(self, deployment: Deployment) -> bool:
        may_fail = State.FAILED in LEGAL[deployment.state] and not deployment.ever_ready
        message = self._failures.pop(deployment.id, None) if may_fail else None
        if message is not None:
            self.fail(deployment, message)
        return message is not None

    def _retire(self, deployment: Deployment, replica: Replica) -> None:
        settings = self._store.settings
        served = replica.step is Step.READY
        stops = deployment.desired == 0
        if not served and not stops:
            self._remove(deployment, replica)
            return
        wait_s = settings.drain_s if served else settings.release_s
        replica.step = Step.DRAINING
        replica.drains_until_s = self._store.now_s + max(wait_s, settings.drain_limit_s)
        self._store.timeline.after(wait_s, partial(self._drained, deployment, replica))

    def _drained(self, deployment: Deployment, replica: Replica) -> None:
        if replica.step is not Step.DRAINING:
            return
        if replica.in_flight and self._store.now_s < replica.drains_until_s:
            self._store.timeline.after(1.0, partial(self._drained, deployment, replica))
            return
        self._remove(deployment, replica)
        self._refresh(deployment)
        self.on_replicas(deployment)

    def _remove_all(self, deployment: Deployment) -> None:
        # Unplaced replicas are removed first, or they would take the released capacity.
        for replica in sorted(deployment.replicas, key=lambda replica: replica.region is not None):
            self._remove(deployment, replica)

    def _remove(self, deployment: Deployment, replica: Replica) -> None:
        region, replica.step = replica.region, Step.GONE
        deployment.replicas.remove(replica)
        if replica.bills:
            replica.bills = False
            self._store.ledger.close(replica.id, self._store.now_s)
        if region is not None:
            self._store.capacity.give_back(deployment.hardware, region)

    def _refresh(self, deployment: Deployment) -> None:
        state, message = self._derived(deployment)
        if (state, message) != (deployment.state, deployment.message):
            self._move(deployment, state, message)

    def _derived(self, deployment: Deployment) -> tuple[State, str]:  # noqa: PLR0911
        if deployment.state is State.FAILED:
            return State.FAILED, deployment.message
        if deployment.desired == 0:
            if deployment.replicas:
                return State.STOPPING, "Draining replicas"
            return State.STOPPED, "0 replicas"
        if deployment.count(Step.WAITING):
            return State.DEGRADED, NO_CAPACITY
        if any(r.replaces and r.step is Step.SCHEDULING for r in deployment.replicas):
            return State.DEGRADED, (
                f"Not ready: {deployment.ready} of {deployment.desired} replicas ready"
            )
        if deployment.count(Step.SCHEDULING, Step.STARTING):
            placed = deployment.count(Step.STARTING, Step.READY, Step.DRAINING)
            if deployment.state is State.PROVISIONING and not placed:
                return State.PROVISIONING, "Scheduling replicas"
            return State.SCALING, "Starting replicas"
        if deployment.count(Step.DRAINING):
            return State.SCALING, "Scaling down"
        return State.READY, "All replicas ready"

    def _move(self, deployment: Deployment, state: State, message: str) -> None:
        before = deployment.state
        if state is not before and state not in LEGAL[before]:
            raise IllegalTransition(f"deployment {deployment.id}: {before} cannot become {state}")
        deployment.state, deployment.message = state, message
        if state is before:
            return
        deployment.history.append((self._store.now_s, state, message))
        troubled = state in (State.DEGRADED, State.FAILED)
        self._store.event(
            deployment.endpoint_id,
            "condition.set",
            message,
            deployment_id=deployment.id,
            level="LEVEL_WARN" if troubled else "LEVEL_INFO",
            subjectId="Ready",
            status="True" if state is State.READY else "False",
            reason=state.removeprefix("DEPLOYMENT_STATE_").title(),
        )
