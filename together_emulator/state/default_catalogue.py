"""The catalogue that a server has unless it is given another: a few models, three GPUs.

Prices are those of the v2 documentation, July 2026, per GPU and hour: H100 5.49, H200 6.65,
B200 8.99 dollars; linear in the number of GPUs. The v1 documentation of the same month says
9, 11 and 15 cents a minute. Benchmarks are plausible, not measured.
"""

from together_emulator.state.catalogue import Catalogue, InstanceType, Model, Profile, Room

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


def _hardware() -> tuple[InstanceType, ...]:
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
    saturation: float = 48.0,
    quantization: str = "FP8",
    published: bool = True,
    concurrency: int = 256,
) -> Profile:
    count = hardware.split("x", 1)[0]
    return Profile(
        hardware=hardware,
        quantization=quantization,
        parallelism=f"TP{count}",
        decoding_tps=tps if published else None,
        ttft_ms=ttft_ms if published else None,
        max_context=context if published else None,
        served_tps=tps,
        served_ttft_s=ttft_ms / 1000,
        saturation=saturation,
        concurrency=concurrency,
        cold_start_s=cold_start_s,
    )


def default_catalogue() -> Catalogue:
    """Return three chat models (small, medium, large), an embedding model, and one that cannot
    be deployed because it has no profile."""
    small = Model(
        name="Qwen/Qwen2.5-7B-Instruct",
        display_name="Qwen2.5 7B Instruct",
        publisher="Qwen",
        architecture="Qwen2ForCausalLM",
        parameters=7_620_000_000,
        context_length=32_768,
        serverless_usd=(0.30, 0.15, 0.30),
        tags=("chat", "small"),
        profiles=(
            _profile("1xnvidia-h100-80gb", 152.0, 90, 32_768, cold_start_s=280, saturation=64),
            _profile("1xnvidia-h200-141gb", 171.5, 80, 32_768, cold_start_s=280, saturation=96),
            _profile("1xnvidia-b200-180gb", 240.0, 60, 32_768, cold_start_s=260, saturation=128),
        ),
    )
    medium = Model(
        name="Qwen/Qwen3-32B",
        display_name="Qwen3 32B",
        publisher="Qwen",
        architecture="Qwen3ForCausalLM",
        parameters=32_800_000_000,
        context_length=40_960,
        tags=("chat", "reasoning"),
        profiles=(
            _profile("1xnvidia-h200-141gb", 58.0, 180, 40_960, cold_start_s=420),
            _profile("2xnvidia-h100-80gb", 74.0, 160, 40_960, cold_start_s=420),
            _profile("1xnvidia-b200-180gb", 92.0, 130, 40_960, cold_start_s=400, published=False),
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
    embedding = Model(
        name="intfloat/multilingual-e5-large-instruct",
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
                published=False,
            ),
        ),
    )
    undeployable = Model(
        name="deepseek-ai/DeepSeek-V3.1",
        display_name="DeepSeek V3.1",
        publisher="DeepSeek",
        architecture="DeepseekV3ForCausalLM",
        parameters=671_000_000_000,
        context_length=131_072,
        serverless_usd=(0.60, 0.30, 1.70),
        tags=("chat",),
    )
    return Catalogue(models=(small, medium, large, embedding, undeployable), hardware=_hardware())
