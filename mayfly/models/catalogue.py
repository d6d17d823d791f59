"""What can be deployed: models of the platform's catalogue, and a project's own."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

ModelKind = Literal["catalogue", "fine-tune", "adapter", "draft"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One model, as `mayfly models` lists it.

    Attributes:
        name: What `--model` takes.
        id: The API's id, which `--model` takes too for an own model.
        kind: Of the catalogue, or which own kind: full weights, a LoRA adapter (deployed merged
            into its base model), or a draft model, which is not deployed by itself.
        base: Name or path of the model that it was made from; "" for none.
        configs: How many configs can deploy it; 0 is none, None when the API does not say.
        context: Longest context in tokens; None when not said.
        modalities: Kinds of input, such as `text` and `image`.
        token_usd: Dollars per million input and output tokens where it is also sold by the token.
    """

    name: str
    id: str
    kind: ModelKind
    base: str = ""
    configs: int | None = None
    context: int | None = None
    modalities: tuple[str, ...] = ()
    token_usd: tuple[float, float] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "modalities": list(self.modalities)}
