"""Models that can be deployed: those of the platform's catalogue, and a project's own."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

ModelKind = Literal["catalogue", "fine-tune", "adapter", "draft"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One model, as `mayfly models` lists it.

    Attributes:
        name: The value for `--model`.
        id: The API's id; `--model` accepts it as well for one of the project's own models.
        kind: `catalogue`, or the kind of own model: full weights, a LoRA adapter (deployed merged
            into its base model), or a draft model, which is not deployed by itself.
        base: Name or path of the model that it was derived from; "" for none.
        configs: Number of configs that can deploy it; None if the API does not say.
        context: Maximum context in tokens; None if unknown.
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
