"""How one emulated Together behaves; every number is an assumption that can be changed."""

from dataclasses import dataclass
from typing import Literal

CachedSpelling = Literal["flat", "details", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Behaviour of one server. All times are emulated seconds.

    Attributes:
        key: The only API key that is accepted.
        seed: Of ids and of faults by chance.
        serving_speed: Emulated seconds in a real second while an endpoint serves; 0 is the clock's
            own speed. With 1 cold starts are quick and answers take as long as they would.
        schedule_s: A replica's wait before it is placed.
        start_factor: Scales the catalogue's cold starts; 0 starts at once.
        warm_factor: Scales a start where the weights have been fetched before.
        drain_s, drain_limit_s: How long a ready replica drains at least, and at most while
            requests are in flight on it.
        release_s: How long a replica that never became ready, or an adapter, takes to go.
        adapter_load_s: How long a replica takes to load an attached adapter.
        routing_s: How long a changed traffic split takes to be in force (the docs: about 30 s).
        ready_timeout_s: A deployment none of whose replicas started by then has failed.
        unrouted: The answer for an endpoint without traffic: 400 `endpoint_not_configured`
            (the docs) or 503 `routing_error`.
        overload: The status beyond a replica's queue.
        slots: Requests that a replica works on at once, at most; 0 is what its config says.
        latency_s: What every answer takes, however long and however many there are; 0 is what
            the profile's speed, the length and the load come to.
        queue_per_replica: Requests that wait per ready replica before overload is answered.
        requests_per_s: A limit on inference requests with 429 beyond it; 0 is none, which is
            what dedicated endpoints have.
        cached_tokens: Where the usage has cached tokens: `usage.cached_tokens`,
            `usage.prompt_tokens_details.cached_tokens`, or not at all.
        reasoning_tokens: Shortest and longest thinking at medium effort; it counts as written.
        reasoning_field: What the thinking is called in a message.
        strict_fields: Whether a request's unknown fields are refused (400) instead of ignored.
        drops_abandoned: Whether work on a request ends when its client has gone.
        answer_tokens: Shortest and longest answer that is not cut.
        max_body_bytes: A longer request is answered 413.
        keep_bodies: Whether the journal keeps the bodies of inference requests.
        v1_create: Whether the legacy API still creates and restarts endpoints.
        errors: Format of the v2 API's errors: `{"error": {message, type, param, code}}`, or
            `{code, message, details}` in the manner of gRPC. Clients must read both.
        upstream: URL of an OpenAI-compatible server that answers inference requests; ""
            for none.
        upstream_models: Pairs of a catalogue model's name ("" for all others) and what that
            server calls it; without one, the same name in its list, or the first there.
        upstream_key: Its key.
        speculation: How much faster a legacy endpoint writes with speculative decoding.
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
