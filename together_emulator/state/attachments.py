"""The adapters of a deployment, and the replicas that have loaded them."""

from together_emulator.state.adapters import Adapter
from together_emulator.state.store import Deployment, Replica, Step, Store


def attached(store: Store, deployment: Deployment) -> list[Adapter]:
    """Return the attached adapters, oldest first, without those whose removal has finished."""
    for adapter in list(deployment.adapters.values()):
        removed_s = adapter.removed_s
        if removed_s is not None and store.now_s >= removed_s + store.settings.release_s:
            del deployment.adapters[adapter.id]
    return [a for a in deployment.adapters.values() if a.removed_s is None]


def is_loaded(store: Store, adapter: Adapter, replica: Replica) -> bool:
    """Whether a replica has loaded an adapter."""
    since_s = max(adapter.changed_s, replica.ready_s)
    return (
        replica.step is Step.READY
        and adapter.removed_s is None
        and can_load(adapter)
        and store.now_s >= since_s + store.settings.adapter_load_s
    )


def can_load(adapter: Adapter) -> bool:
    """Whether replicas can load the revision: its validation has passed."""
    revision = adapter.model.revision_with_id(adapter.revision)
    return revision is not None and revision.valid


def adapter_named(store: Store, name: str) -> tuple[Deployment, Adapter] | None:
    """Return a deployment that has loaded the adapter of that name, or None."""
    for deployment in store.deployments.values():
        for adapter in attached(store, deployment) if deployment.adapters else ():
            loaded = any(is_loaded(store, adapter, replica) for replica in deployment.replicas)
            if adapter.model.name == name and loaded:
                return deployment, adapter
    return None
