"""The catalogue: instance types, models, and the profiles that combine them."""

import hashlib
import string
from dataclasses import dataclass, field
from typing import Literal

from together_emulator.state.revisions import Revision

_ALPHABET = string.digits + string.ascii_letters


def stable_id(prefix: str, *parts: str) -> str:
    """Return an id that depends only on its parts, so that catalogue ids are stable."""
    number = int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:17], "big")
    letters = []
    for _ in range(22):
        number, index = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[index])
    return f"{prefix}_{''.join(letters)}"


PUBLIC_PROJECT = stable_id("proj", "together-public")
"""The project that owns the catalogue's models and configs."""
OWN_PROJECT = stable_id("proj", "emulated")
"""The project that the API key belongs to; it owns fine-tunes, uploads and adapters."""
OWN_SLUG = "emulated-project"

Thinking = Literal["never", "asked", "default", "always"]
Weights = Literal["DEFAULT", "ADAPTER", "SPECULATOR"]
AdapterMode = Literal["disabled", "fixed", "dynamic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Free capacity of an instance type in one region.

    Attributes:
        replicas: Free replicas.
        shown: Form of `headroom`: a capped count, a count, a lower bound without value, nothing.
    """

    region: str
    replicas: int
    shown: str = "capped"
    hipaa: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """Hardware of one replica.

    Attributes:
        accelerator: Name in the selectors of configs, such as `nvidia-h100-80gb`.
        price_cents_per_h: Price of one replica.
        v1_cents_per_min: Price in the legacy API; None if it is the same.
        gpu_link: GPU interconnect, for the legacy API's ids.
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
        """Number and kind of GPU, such as `1xnvidia-h100-80gb`."""
        return f"{self.gpu_count}x{self.accelerator}"

    @property
    def id(self) -> str:
        """Its id (`it_...`)."""
        return stable_id("it", self.name)

    @property
    def v1_id(self) -> str:
        """The id in the legacy API."""
        gpu = self.gpu_type.lower()
        return f"{self.gpu_count}x_nvidia_{gpu}_{self.gpu_memory_gib}gb_{self.gpu_link}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A certified way to run a model on an instance type.

    Attributes:
        hardware: Name of the instance type.
        decoding_tps: Tokens per second of a single stream on a replica; None if the catalogue
            publishes no benchmark (`served_tps` then applies).
        ttft_ms: Time to the first token, alone on a replica.
        saturation: Requests in flight at which a replica has half of its maximum throughput.
        concurrency: The config's limit of requests per replica.
        cold_start_s: First start, from placed to ready, in emulated seconds.
        variant: Distinguishes configs of one model on one instance type.
        optimization: The selector `optimization`: balanced, throughput or latency.
        topology: The selector `topology`.
        adapter_mode: Whether LoRA adapters can be attached; `disabled` serves merged ones.
        adapter_slots: How many adapters can be attached at once.
        draft_model: Name of the draft model; "" without speculative decoding.
        published: Whether the catalogue entry lists it; the configs API lists all.
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
    optimization: str = "balanced"
    topology: str = "aggregated"
    adapter_mode: AdapterMode = "disabled"
    adapter_slots: int = 0
    draft_model: str = ""
    published: bool = True

    @property
    def gpu_count(self) -> str:
        """The selector `accelerator_count`."""
        return self.hardware.split("x", 1)[0]

    @property
    def accelerator(self) -> str:
        """The selector `accelerator_type`."""
        return self.hardware.split("x", 1)[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model of the platform's catalogue, or a project's own.

    Attributes:
        name: Name; for an own model with the project's slug as prefix.
        kind: `chat` or `embedding`.
        dimensions: Length of an embedding; 0 otherwise.
        inputs: Supported kinds of content: `text`, `image`, `video`, `audio`.
        thinking: Whether it thinks before it answers: only on request, by default (unless
            disabled), always, or never.
        serverless_usd: Price per million input, cached input and output tokens, if it is also
            sold by the token.
        weights: Type of its weights.
        base: Name of the model that it was derived from; "" for none.
        own: Whether the key's project owns it.
        supported: Whether the catalogue of supported models lists it.
        revisions: Revisions of an own model, oldest first; a catalogue model has one per
            quantization.
    """

    name: str
    display_name: str
    publisher: str
    architecture: str
    parameters: int
    context_length: int
    kind: str = "chat"
    dimensions: int = 0
    inputs: tuple[str, ...] = ("text",)
    thinking: Thinking = "never"
    serverless_usd: tuple[float, float, float] | None = None
    profiles: tuple[Profile, ...] = ()
    tags: tuple[str, ...] = ()
    weights: Weights = "DEFAULT"
    base: str = ""
    own: bool = False
    supported: bool = True
    description: str = ""
    revisions: tuple[Revision, ...] = ()

    @property
    def id(self) -> str:
        """Id of its architecture (`arch_...`)."""
        return stable_id("arch", self.name)

    @property
    def model_id(self) -> str:
        """Its id (`ml_...`)."""
        return stable_id("ml", self.name)

    @property
    def project(self) -> str:
        """The project that owns it."""
        return OWN_PROJECT if self.own else PUBLIC_PROJECT

    @property
    def resource(self) -> str:
        """Its resource name."""
        return f"projects/{self.project}/models/{self.model_id}"

    def weights_id(self, profile: Profile) -> str:
        """Return the revision of the weights that a profile serves by default."""
        if self.revisions:
            return self.newest_revision
        return stable_id("rv", self.name, profile.quantization)

    @property
    def newest_revision(self) -> str:
        """The id of an own model's newest valid revision, if there is one."""
        usable = [revision for revision in self.revisions if revision.valid]
        return self.revision_id(usable[-1] if usable else self.revisions[-1])

    def revision_id(self, revision: Revision) -> str:
        """Return the id of a revision of an own model."""
        return stable_id("rv", self.name, revision.label)

    def revision_with_id(self, revision_id: str) -> Revision | None:
        """Find a revision of an own model."""
        return next((r for r in self.revisions if self.revision_id(r) == revision_id), None)

    def config_id(self, profile: Profile) -> str:
        """Return the id of the config that serves a profile."""
        return stable_id("cr", self.name, profile.hardware, profile.quantization, profile.variant)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A config revision: a profile of its reference model, found by its id."""

    id: str
    model: Model
    profile: Profile

    @property
    def project(self) -> str:
        """The project that owns it, which is often the platform's."""
        return self.model.project

    @property
    def resource(self) -> str:
        """Its resource name."""
        return f"projects/{self.project}/configs/{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All models and instance types of one server.

    Raises:
        ValueError: A profile names an unknown instance type, or a model an unknown base or draft,
            or an own model's name lacks the project's slug.
    """

    models: tuple[Model, ...]
    hardware: tuple[InstanceType, ...]
    configs: dict[str, Config] = field(init=False)

    def __post_init__(self) -> None:
        hardware = {kind.name for kind in self.hardware}
        named = {model.name: model for model in self.models}
        if len(named) != len(self.models):
            raise ValueError("two models have the same name")
        configs: dict[str, Config] = {}
        for model in self.models:
            if model.own != model.name.startswith(f"{OWN_SLUG}/"):
                raise ValueError(f"{model.name}: own models, and only they, begin with {OWN_SLUG}/")
            if model.base and model.base not in named:
                raise ValueError(f"{model.name}: base model {model.base} does not exist")
            for profile in model.profiles:
                if profile.hardware not in hardware:
                    raise ValueError(f"{model.name}: no instance type {profile.hardware}")
                if profile.draft_model and profile.draft_model not in named:
                    raise ValueError(f"{model.name}: no draft model {profile.draft_model}")
                config = Config(id=model.config_id(profile), model=model, profile=profile)
                if config.id in configs:
                    raise ValueError(f"{model.name}: two profiles differ in no `variant`")
                configs[config.id] = config
        object.__setattr__(self, "configs", configs)

    @property
    def supported(self) -> tuple[Model, ...]:
        """The models that the platform's catalogue lists."""
        return tuple(model for model in self.models if model.supported and not model.own)

    @property
    def own(self) -> tuple[Model, ...]:
        """The models of the key's project."""
        return tuple(model for model in self.models if model.own)

    def model_named(self, name: str) -> Model | None:
        """Find a model by its public name, or an own one by `<slug>/<name>`."""
        return next((model for model in self.models if model.name == name), None)

    def model_with_id(self, model_id: str) -> Model | None:
        """Find a model by its `ml_` or `arch_` id."""
        return next((m for m in self.models if model_id in (m.model_id, m.id)), None)

    def model_of(self, project: str, model_id: str) -> Model | None:
        """Find a model of one project by its `ml_` id."""
        found = (m for m in self.models if m.model_id == model_id and m.project == project)
        return next(found, None)

    def base_of(self, model: Model) -> Model | None:
        """Return the model that another was derived from."""
        return self.model_named(model.base) if model.base else None

    def configs_for(self, model: Model) -> list[Config]:
        """Return the configs that a model can be deployed with: its own, and its base's.

        A merged adapter runs only on configs that do not attach adapters.
        """
        found: list[Config] = []
        reference: Model | None = model
        while reference is not None:
            found += [c for c in self.configs.values() if c.model is reference]
            reference = self.base_of(reference)
        if model.weights == "ADAPTER":
            found = [c for c in found if c.profile.adapter_mode == "disabled"]
        return [] if model.weights == "SPECULATOR" else found

    def instance_type(self, name: str) -> InstanceType:
        """Return the instance type of that name (KeyError)."""
        for kind in self.hardware:
            if name in (kind.name, kind.v1_id):
                return kind
        raise KeyError(name)
