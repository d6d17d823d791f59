"""The default project's own models: fine-tunes, adapters and uploads."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from together_emulator.state.catalogue import OWN_SLUG, Model, Profile
from together_emulator.state.revisions import Revision

SMALL = "Qwen/Qwen2.5-7B-Instruct"
THINKING = "Qwen/Qwen3.5-9B"
VISION = "Qwen/Qwen3-VL-8B-Instruct"
EMBEDDING = "intfloat/multilingual-e5-large-instruct"
NO_PROFILE = "deepseek-ai/DeepSeek-V3.1"


def derived(source: Model, name: str, **more: Any) -> Model:
    """Return an own model that is derived from another one and runs on its configs."""
    defaults: dict[str, Any] = {
        "name": f"{OWN_SLUG}/{name}",
        "display_name": name,
        "publisher": OWN_SLUG,
        "base": source.name,
        "own": True,
        "profiles": (),
        "serverless_usd": None,
        "tags": (),
        "revisions": (Revision(label="1"),),
    }
    return replace(source, **(defaults | more))


def own_models(public: Mapping[str, Model]) -> tuple[Model, ...]:
    """Return one of each kind: fine-tunes, an adapter, an upload, and one without any config.

    Args:
        public: The catalogue's models by name.
    """
    two = (Revision(label="1"), Revision(label="2"))
    return (
        derived(
            public[SMALL],
            "support-classifier",
            revisions=(*two, Revision(label="3", valid=False)),
            description="Fine-tuned on labelled tickets; its newest revision failed validation.",
        ),
        derived(
            public[SMALL],
            "support-tone-lora",
            weights="ADAPTER",
            parameters=40_000_000,
            revisions=(*two, Revision(label="3", valid=False)),
            description="LoRA adapter of Qwen2.5 7B; its newest revision failed validation.",
        ),
        derived(public[THINKING], "contract-reader", description="Fine-tune that thinks."),
        derived(public[VISION], "damage-photos", description="Fine-tune that sees."),
        derived(
            public[SMALL],
            "house-style",
            base="",
            description="Uploaded weights with a config of their own.",
            profiles=(
                Profile(
                    hardware="1xnvidia-h100-80gb",
                    quantization="BF16",
                    parallelism="TP1",
                    decoding_tps=None,
                    ttft_ms=None,
                    max_context=None,
                    served_tps=118.0,
                    published=False,
                ),
            ),
        ),
        derived(public[NO_PROFILE], "too-large", description="No config serves it."),
        derived(
            public[THINKING],
            "contract-reader-speculator",
            weights="SPECULATOR",
            parameters=430_000_000,
        ),
    )
