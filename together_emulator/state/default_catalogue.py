"""The default catalogue: a model of each kind, three kinds of GPUs.

Prices are those of the v2 documentation, July 2026, per GPU and hour: H100 5.49, H200 6.65,
B200 8.99 dollars; linear in the number of GPUs. The v1 documentation of the same month has 9, 11
and 15 cents per minute. Benchmarks are plausible, not measured.
"""

from functools import partial
from typing import Any

from together_emulator.state.catalogue import Catalogue, InstanceType, Model, Profile, Room
from together_emulator.state.own_models import (
    EMBEDDING,
    NO_PROFILE,
    SMALL,
    THINKING,
    VISION,
    own_models,
)

_GPUS = {
    "H100": ("nvidia-h100-80gb", 80, 549, 9.0),
    "H200": ("nvidia-h200-141gb", 141, 665, 11.0),
    "B200": ("nvidia-b200-180gb", 180, 899, 15.0),
}

_ROOMS: dict[tuple[str, int], tuple[Room, ...]] = {
    ("H100", 1): (
        Room(region="us-central-1", replicas=24),
        Room(region="us-east-1", replicas=6, hipaa=True),
        Room(region="eu-west-1", replicas=3),
    ),
    ("H100", 2): (
        Room(region="us-central-1", replicas=12),
        Room(region="us-east-1", replicas=3, hipaa=True),
    ),
    ("H100", 4): (
        Room(region="us-central-1", replicas=4),
        Room(region="eu-west-1", replicas=1),
    ),
    ("H100", 8): (Room(region="us-central-1", replicas=2),),
    ("H200", 1): (
        Room(region="us-central-1", replicas=8),
        Room(region="us-east-1", replicas=2, shown="count"),
    ),
    ("H200", 2): (Room(region="us-central-1", replicas=4),),
    ("H200", 4): (Room(region="us-central-1", replicas=2),),
    ("H200", 8): (Room(region="us-central-1", replicas=1),),
    ("B200", 1): (
        Room(region="us-central-1", replicas=10, shown="bound"),
        Room(region="eu-west-1", replicas=0),
    ),
    ("B200", 2): (Room(region="us-central-1", replicas=4, shown="hidden"),),
    ("B200", 4): (Room(region="us-central-1", replicas=2),),
    ("B200", 8): (Room(region="us-central-1", replicas=0),),
}


def default_hardware() -> tuple[InstanceType, ...]:
    """Return 1, 2, 4 and 8 GPUs of each kind."""
    kinds = []
    for (gpu, count), rooms in _ROOMS.items():
        accelerator, memory, cents, v1_cents = _GPUS[gpu]
        kinds.append(
            InstanceType(
                accelerator=accelerator,
                gpu_type=gpu,
                gpu_count=count,
                gpu_memory_gib=memory,
                price_cents_per_h=cents * count,
                v1_cents_per_min=v1_cents * count,
                rooms=rooms,
            )
        )
    return tuple(kinds)


def _profile(
    hardware: str,
    tps: float,
    ttft_ms: int,
    context: int,
    *,
    cold_start_s: float,
    benchmarks: bool = True,
    quantization: str = "FP8",
    **more: Any,
) -> Profile:
    count = hardware.split("x", 1)[0]
    return Profile(
        hardware=hardware,
        quantization=quantization,
        parallelism=f"TP{count}",
        decoding_tps=tps if benchmarks else None,
        ttft_ms=ttft_ms if benchmarks else None,
        max_context=context if benchmarks else None,
        served_tps=tps,
        served_ttft_s=ttft_ms / 1000,
        cold_start_s=cold_start_s,
        **more,
    )


def _small_profiles() -> tuple[Profile, ...]:
    lora = partial(
        _profile, "1xnvidia-h100-80gb", 130.0, 100, 32_768, cold_start_s=280, saturation=64
    )
    return (
        _profile("1xnvidia-h100-80gb", 152.0, 90, 32_768, cold_start_s=280, saturation=64),
        _profile("1xnvidia-h200-141gb", 171.5, 80, 32_768, cold_start_s=280, saturation=96),
        _profile("1xnvidia-b200-180gb", 240.0, 60, 32_768, cold_start_s=260, saturation=128),
        # These attach adapters; only the configs API lists them.
        lora(variant="lora-dynamic", adapter_mode="dynamic", adapter_slots=8, published=False),
        lora(variant="lora-fixed", adapter_mode="fixed", adapter_slots=1, published=False),
    )


def _chat_models() -> tuple[Model, ...]:
    small = Model(
        name=SMALL,
        display_name="Qwen2.5 7B Instruct",
        publisher="Qwen",
        architecture="Qwen2ForCausalLM",
        parameters=7_620_000_000,
        context_length=32_768,
        serverless_usd=(0.30, 0.15, 0.30),
        tags=("chat", "small"),
        profiles=_small_profiles(),
    )
    medium = Model(
        name="Qwen/Qwen3-32B",
        display_name="Qwen3 32B",
        publisher="Qwen",
        architecture="Qwen3ForCausalLM",
        parameters=32_800_000_000,
        context_length=40_960,
        thinking="asked",
        tags=("chat", "reasoning"),
        profiles=(
            _profile("1xnvidia-h200-141gb", 58.0, 180, 40_960, cold_start_s=420),
            _profile("2xnvidia-h100-80gb", 74.0, 160, 40_960, cold_start_s=420),
            _profile("1xnvidia-b200-180gb", 92.0, 130, 40_960, cold_start_s=400, benchmarks=False),
        ),
    )
    large = Model(
        name="meta-llama/Llama-3.3-70B-Instruct",
        display_name="Llama 3.3 70B Instruct",
        publisher="Meta",
        architecture="LlamaForCausalLM",
        parameters=70_600_000_000,
        context_length=131_072,
        serverless_usd=(0.88, 0.44, 0.88),
        tags=("chat", "large"),
        profiles=(
            _profile("2xnvidia-h200-141gb", 52.0, 260, 131_072, cold_start_s=700),
            _profile("4xnvidia-h100-80gb", 68.0, 230, 131_072, cold_start_s=720),
            _profile("2xnvidia-b200-180gb", 95.0, 170, 131_072, cold_start_s=650),
            _profile(
                "8xnvidia-h100-80gb", 104.0, 190, 131_072, cold_start_s=900, quantization="BF16"
            ),
        ),
    )
    undeployable = Model(
        name=NO_PROFILE,
        display_name="DeepSeek V3.1",
        publisher="DeepSeek",
        architecture="DeepseekV3ForCausalLM",
        parameters=671_000_000_000,
        context_length=131_072,
        serverless_usd=(0.60, 0.30, 1.70),
        tags=("chat",),
    )
    return small, medium, large, undeployable


def _thinking_models() -> tuple[Model, ...]:
    """Return a model that thinks by default, with and without speculative decoding on one GPU, its
    draft model, and a model that always thinks, with an adjustable effort."""
    hybrid = partial(_profile, "1xnvidia-h100-80gb", ttft_ms=110, context=65_536, cold_start_s=300)
    draft = "Qwen/Qwen3.5-9B-speculator"
    return (
        Model(
            name=THINKING,
            display_name="Qwen3.5 9B",
            publisher="Qwen",
            architecture="Qwen3_5ForCausalLM",
            parameters=9_400_000_000,
            context_length=65_536,
            thinking="default",
            tags=("chat", "reasoning"),
            profiles=(
                hybrid(tps=138.0, saturation=64),
                hybrid(
                    tps=210.0,
                    saturation=48,
                    variant="speculative",
                    optimization="throughput",
                    draft_model=draft,
                ),
                _profile("1xnvidia-b200-180gb", 225.0, 70, 65_536, cold_start_s=280),
            ),
        ),
        Model(
            name=draft,
            display_name="Qwen3.5 9B speculator",
            publisher="Qwen",
            architecture="EagleModel",
            parameters=430_000_000,
            context_length=65_536,
            weights="SPECULATOR",
            supported=False,
        ),
        Model(
            name="openai/gpt-oss-20b",
            display_name="GPT-OSS 20B",
            publisher="OpenAI",
            architecture="GptOssForCausalLM",
            parameters=21_000_000_000,
            context_length=131_072,
            thinking="always",
            tags=("chat", "reasoning"),
            profiles=(_profile("1xnvidia-h100-80gb", 190.0, 120, 131_072, cold_start_s=330),),
        ),
    )


def _media_models() -> tuple[Model, ...]:
    return (
        Model(
            name=VISION,
            display_name="Qwen3 VL 8B Instruct",
            publisher="Qwen",
            architecture="Qwen3VLForConditionalGeneration",
            parameters=8_770_000_000,
            context_length=65_536,
            inputs=("text", "image", "video"),
            tags=("chat", "vision"),
            profiles=(
                _profile("1xnvidia-h100-80gb", 140.0, 150, 65_536, cold_start_s=300),
                _profile("1xnvidia-h200-141gb", 158.0, 130, 65_536, cold_start_s=300),
            ),
        ),
        Model(
            name="Qwen/Qwen2.5-Omni-7B",
            display_name="Qwen2.5 Omni 7B",
            publisher="Qwen",
            architecture="Qwen2_5OmniModel",
            parameters=10_700_000_000,
            context_length=32_768,
            inputs=("text", "image", "video", "audio"),
            tags=("chat", "vision", "audio"),
            profiles=(_profile("1xnvidia-h100-80gb", 120.0, 180, 32_768, cold_start_s=320),),
        ),
    )


def _embedding_models() -> tuple[Model, ...]:
    return (
        Model(
            name=EMBEDDING,
            display_name="Multilingual E5 Large Instruct",
            publisher="intfloat",
            architecture="XLMRobertaModel",
            parameters=560_000_000,
            context_length=514,
            kind="embedding",
            dimensions=1024,
            serverless_usd=(0.02, 0.02, 0.02),
            tags=("embedding",),
            profiles=(
                _profile(
                    "1xnvidia-h100-80gb",
                    20_000.0,
                    15,
                    514,
                    cold_start_s=120,
                    quantization="FP16",
                    benchmarks=False,
                ),
            ),
        ),
    )


def default_catalogue() -> Catalogue:
    """Return the default catalogue.

    The platform's models: chat models of three sizes, thinking ones, multimodal ones, an embedding
    model, and one without a profile. The project's own models: see `own_models`.
    """
    public = (*_chat_models(), *_thinking_models(), *_media_models(), *_embedding_models())
    named = {model.name: model for model in public}
    return Catalogue(models=(*public, *own_models(named)), hardware=default_hardware())
