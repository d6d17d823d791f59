"""Incidents of endpoints: they vanish, lose replicas, or fail to start."""

import re

from together_emulator.state.lifecycle import Lifecycle
from together_emulator.state.store import Deployment, Endpoint, State, Store


class Incidents:
    """Applies the incidents of faults and of the admin API to the store."""

    def __init__(self, store: Store, lifecycle: Lifecycle) -> None:
        self._store = store
        self._lifecycle = lifecycle

    def _targets(self, target: str) -> list[Endpoint]:
        pattern = re.compile(target)
        return [e for e in self._store.endpoints.values() if self._named(e, pattern)]

    def _named(self, endpoint: Endpoint, pattern: re.Pattern[str]) -> bool:
        """Whether its name matches, or its display name in the legacy API."""
        called = endpoint.legacy.display_name if endpoint.legacy else ""
        return any(pattern.search(n) for n in (f"{self._store.slug}/{endpoint.name}", called))

    def _deployments(self, target: str) -> list[Deployment]:
        return [
            deployment
            for endpoint in self._targets(target)
            for deployment in self._store.deployments_of(endpoint.id)
        ]

    def vanish(self, target: str) -> int:
        """Remove matching endpoints with their deployments; return how many."""
        targets = self._targets(target)
        for endpoint in targets:
            for deployment in list(self._store.deployments_of(endpoint.id)):
                self._lifecycle.forget(deployment)
            del self._store.endpoints[endpoint.id]
        return len(targets)

    def lose_replica(self, target: str) -> int:
        """Remove a ready replica from each matching deployment; return how many."""
        return sum(self._lifecycle.lose_replica(d) for d in self._deployments(target))

    def fail_start(self, target: str, message: str) -> int:
        """Make matching deployments that are starting fail; return how many."""
        starting = [
            deployment
            for deployment in self._deployments(target)
            if not deployment.ever_ready and deployment.state is not State.FAILED
        ]
        for deployment in starting:
            self._lifecycle.fail_next_start(deployment, message)
        return len(starting)
