"""What can be rented and served: instance types, models, and which runs on which."""

import hashlib
import string
from dataclasses import dataclass, field

_ALPHABET = string.digits + string.ascii_letters


def stable_id(prefix: str, *parts: str) -> str:
    """Return an id that only depends on its parts: catalogue ids outlive a server."""
    number = int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:17], "big")
    letters = []
    for _ in range(22):
        number, index = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[index])
    return f"{prefix}_{''.join(letters)}"


PUBLIC_PROJECT = stable_id("proj", "together-public")
"""The project that owns the catalogue's models and configs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Free capacity of an instance type in one region.

    Attributes:
        replicas: That fit now.
        shown: What `headroom` says: a capped count, a count, a lower bound without value, nothing.
    """

    region: str
    replicas: int
    shown: str = "capped"
    hipaa: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """Hardware on which one replica runs.

    Attributes:
        accelerator: As configs select it, such as `nvidia-h100-80gb`.
        price_cents_per_h: Of one replica.
        v1_cents_per_min: What the legacy API charges for it; None when that is the same.
        gpu_link: How the GPUs are connected, as the legacy API's ids say it.
    """

    accelerator: str
    gpu_type: str
    gpu_count: int
    gpu_memory_gib: int
    price_cents_per_h: int
    rooms: tuple[Room, ...]
    v1_cents_per_min: float | None = None
    gpu_link: str = "sxm"

    @property
    def name(self) -> str:
        return f"{self.gpu_count}x{self.accelerator}"

    @property
    def id(self) -> str:
        return stable_id("it", self.name)

    @property
    def v1_id(self) -> str:
        """The legacy API's id for the same thing."""
        gpu = self.gpu_type.lower()
        return f"{self.gpu_count}x_nvidia_{gpu}_{self.gpu_memory_gib}gb_{self.gpu_link}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A certified way to run a model on an instance type.

    Attributes:
        hardware: Name of the instance type.
        decoding_tps: Tokens per second of one stream alone on a replica; None when the catalogue
            publishes no benchmark (`served_tps` is what it does then).
        ttft_ms: Time to the first token, alone on a replica.
        saturation: Requests in flight at which a replica's total throughput is half of what it
            can ever be.
        concurrency: The config's limit of requests per replica.
        cold_start_s: From placed to ready, the first time; emulated seconds.
    """

    hardware: str
    quantization: str
    parallelism: str
    decoding_tps: float | None
    ttft_ms: int | None
    max_context: int | None
    served_tps: float = 100.0
    served_ttft_s: float = 0.15
    saturation: float = 48.0
    concurrency: int = 256
    cold_start_s: float = 300.0
    variant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model in the catalogue.

    Attributes:
        kind: `chat` or `embedding`.
        dimensions: Of an embedding; 0 otherwise.
        serverless_usd: Price per million input, cached input and output tokens, if it is also
            sold by the token.
    """

    name: str
    display_name: str
    publisher: str
    architecture: str
    parameters: int
    context_length: int
    kind: str = "chat"
    dimensions: int = 0
    serverless_usd: tuple[float, float, float] | None = None
    profiles: tuple[Profile, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return stable_id("arch", self.name)

    @property
    def model_id(self) -> str:
        return stable_id("ml", self.name)

    @property
    def resource(self) -> str:
        return f"projects/{PUBLIC_PROJECT}/models/{self.model_id}"

    def weights_id(self, profile: Profile) -> str:
        """The revision of the weights that a profile serves: one for each quantization."""
        return stable_id("rv", self.name, profile.quantization)

    def config_id(self, profile: Profile) -> str:
        return stable_id("cr", self.name, profile.hardware, profile.quantization, profile.variant)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A config revision: a model's profile, found by its id."""

    id: str
    model: Model
    profile: Profile

    @property
    def resource(self) -> str:
        return f"projects/{PUBLIC_PROJECT}/configs/{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All models and instance types of one server.

    Raises:
        ValueError: A profile names an instance type that is not there.
    """

    models: tuple[Model, ...]
    hardware: tuple[InstanceType, ...]
    configs: dict[str, Config] = field(init=False)

    def __post_init__(self) -> None:
        names = {kind.name for kind in self.hardware}
        configs = {}
        for model in self.models:
            for profile in model.profiles:
                if profile.hardware not in names:
                    raise ValueError(f"{model.name}: no instance type {profile.hardware}")
                config = Config(id=model.config_id(profile), model=model, profile=profile)
                configs[config.id] = config
        object.__setattr__(self, "configs", configs)

    def model_named(self, name: str) -> Model | None:
        """Find a model by its public name."""
        return next((model for model in self.models if model.name == name), None)

    def model_with_id(self, model_id: str) -> Model | None:
        """Find a model by its `ml_` or `arch_` id."""
        return next((m for m in self.models if model_id in (m.model_id, m.id)), None)

    def instance_type(self, name: str) -> InstanceType:
        """Return the instance type of that name (KeyError)."""
        for kind in self.hardware:
            if name in (kind.name, kind.v1_id):
                return kind
        raise KeyError(name)
