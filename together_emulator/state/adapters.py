"""LoRA adapters that are attached to a deployment."""

from dataclasses import dataclass

from together_emulator.state.catalogue import Model


@dataclass(slots=True, eq=False, kw_only=True)
class Adapter:
    """An adapter attached to a deployment of its base model.

    Attributes:
        id: Id of the attachment; a new one each time the adapter is attached.
        changed_s: Time since which replicas load this revision.
        removed_s: Time when its removal was requested; None before.
    """

    id: str
    model: Model
    revision: str
    etag: str
    changed_s: float
    removed_s: float | None = None
