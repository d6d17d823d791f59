"""Settings of an emulated Together API; every number is an assumption that can be changed."""

from dataclasses import dataclass
from typing import Literal

CachedSpelling = Literal["flat", "details", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of one server. All times are emulated seconds.

    Attributes:
        key: The only accepted API key.
        seed: Seed of ids and of the chance of faults.
        serving_speed: Emulated seconds per real second while an endpoint serves; 0 for the clock's
            own speed. With 1, only cold starts are accelerated.
        schedule_s: Time before a replica is placed.
        start_factor: Factor of the catalogue's cold starts; 0 for an immediate start.
        warm_factor: Factor of a start with weights that were fetched before.
        drain_s, drain_limit_s: Minimum drain time of a ready replica, and its maximum while it has
            requests in flight.
        release_s: Time to remove a replica that was never ready, or an adapter.
        adapter_load_s: Time for a replica to load an attached adapter.
        routing_s: Time until a changed traffic split takes effect (about 30 s by the docs).
        ready_timeout_s: Time after which a deployment without a started replica fails.
        unrouted: The error of an endpoint without traffic: 400 `endpoint_not_configured` (by the
            docs) or 503 `routing_error`.
        overload: The status if a replica's queue is full.
        slots: Maximum concurrent requests per replica; 0 for its config's limit.
        latency_s: Fixed latency of every answer; 0 derives it from the profile's speed, the length
            and the load.
        queue_per_replica: Queue length per ready replica beyond which it is overloaded.
        requests_per_s: Rate limit of inference requests, with 429 beyond it; 0 for none, as for
            dedicated endpoints.
        cached_tokens: Field of cached tokens in the usage: `usage.cached_tokens`,
            `usage.prompt_tokens_details.cached_tokens`, or none.
        reasoning_tokens: Minimum and maximum thinking at medium effort, in completion tokens.
        reasoning_field: Field of a message with the thinking.
        strict_fields: Whether unknown fields of a request are rejected (400) instead of ignored.
        drops_abandoned: Whether work on a request ends when its client disconnects.
        answer_tokens: Minimum and maximum length of an answer that is not truncated.
        max_body_bytes: Maximum request size, with 413 beyond it.
        keep_bodies: Whether the journal keeps the bodies of inference requests.
        v1_create: Whether the legacy API creates and restarts endpoints.
        errors: Format of the v2 API's errors: `{"error": {message, type, param, code}}`, or the
            gRPC format `{code, message, details}`. Clients must support both.
        upstream: URL of an OpenAI-compatible server that answers inference requests; ""
            for none.
        upstream_models: Pairs of a catalogue model's name ("" for all others) and the upstream
            server's name; without one, the same name in its list, or the first one there.
        upstream_key: Its key.
        speculation: Speed-up of a legacy endpoint by speculative decoding.
    """

    key: str = "local"
    seed: int = 0
    serving_speed: float = 0.0
    schedule_s: float = 20.0
    start_factor: float = 1.0
    warm_factor: float = 0.5
    drain_s: float = 15.0
    drain_limit_s: float = 300.0
    release_s: float = 2.0
    adapter_load_s: float = 15.0
    routing_s: float = 30.0
    ready_timeout_s: float = 6 * 3600.0
    unrouted: Literal["endpoint_not_configured", "routing_error"] = "endpoint_not_configured"
    overload: Literal[429, 503] = 503
    slots: int = 0
    latency_s: float = 0.0
    queue_per_replica: int = 512
    requests_per_s: float = 0.0
    cached_tokens: CachedSpelling = "flat"
    reasoning_tokens: tuple[int, int] = (40, 240)
    reasoning_field: Literal["reasoning", "reasoning_content"] = "reasoning"
    strict_fields: bool = False
    drops_abandoned: bool = True
    answer_tokens: tuple[int, int] = (12, 160)
    max_body_bytes: int = 10_000_000
    keep_bodies: bool = False
    v1_create: bool = False
    errors: Literal["object", "rpc"] = "object"
    upstream: str = ""
    upstream_models: tuple[tuple[str, str], ...] = ()
    upstream_key: str = ""
    speculation: float = 1.4
