"""Together's v1 endpoints: one object is endpoint, model, hardware and replicas at once.

A create is not idempotent there, and nothing but `display_name` tells our endpoints apart, which a
list does not show: who looks for ours reads each of the key's dedicated endpoints once. Two of one
name are twins, of which the first answer was lost: one is kept, and the other is ended wherever
it is seen.

Source for every rule here: Together API, v1 endpoints, by the raw calls of together 3.1.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mayfly.models.catalogue import ModelEntry
from mayfly.models.endpoint import (
    Api,
    EndpointName,
    EndpointRef,
    EndpointSpec,
    Observation,
    Phase,
    Replicas,
    Use,
)
from mayfly.models.errors import BadRequest, HardwareUnavailable, TerminalError
from mayfly.models.offers import Offer
from mayfly.together.client import open_client, own_project
from mayfly.together.connection import Connection
from mayfly.together.errors import Refused, translated
from mayfly.together.hardware_v1 import get, hardware_v1, offers_v1
from mayfly.together.hardware_v2 import entries_v2
from mayfly.together.parsing import count, field, items, must_be_json, needed, text
from mayfly.together.server_clock import ServerClock

_PATH = "/v1/endpoints"
_PHASES = {
    "PENDING": Phase.STARTING,
    "STARTING": Phase.STARTING,
    "STARTED": Phase.READY,
    "STOPPING": Phase.STOPPING,
    "STOPPED": Phase.STOPPED,
    "ERROR": Phase.FAILED,
    "FAILED": Phase.FAILED,
}
# Of twins the one that has come furthest is kept.
_FURTHEST = (Phase.READY, Phase.STARTING, Phase.UNKNOWN, Phase.STOPPED, Phase.STOPPING)
_ASLEEP = (Phase.STOPPED, Phase.STOPPING, Phase.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointV1:
    """An endpoint at one look.

    Attributes:
        name: What requests give as `model`; made by the API.
        display_name: Ours; may be shared by others.
        most: Upper bound on replicas; None when not said.
    """

    id: str
    name: str
    display_name: str
    hardware: str
    state: str
    created_at: str
    most: int | None

    @property
    def phase(self) -> Phase:
        """Where it is in its life; a state that we do not know is unknown, not an error."""
        return _PHASES.get(self.state.upper(), Phase.UNKNOWN)


class EndpointsV1:
    """The control plane over v1; see `ControlPlane` for what each method promises."""

    api: Api = "v1"

    def __init__(self, connection: Connection) -> None:
        self._clock = ServerClock()
        self._client: Any = open_client(connection, self._clock)
        self.inference_url = f"{connection.base_url}/v1"
        self._display_names: dict[str, str] = {}
        try:
            self.project = connection.project or own_project(self._client)
        except BadRequest:
            # v1 knows no projects: a key of several is as good.
            self.project = ""
        except BaseException:
            self.close()
            raise

    def offers(self, model: str, *, config: str | None = None) -> list[Offer]:
        if config is not None:
            raise BadRequest(f"--config {config}: API v1 has no configs; leave it out")
        return offers_v1(self._client, self.project, model)

    def models(self, *, mine: bool) -> list[ModelEntry]:
        # v1 lists models by v2's catalogue and records: they are the same platform's.
        return entries_v2(self._client, self.project, mine=mine)

    def all_hardware(self) -> list[Offer]:
        return hardware_v1(self._client)

    def create(
        self, spec: EndpointSpec, *, on_known: Callable[[EndpointRef], None] = lambda _ref: None
    ) -> EndpointRef:
        living = [each for each in self._named(spec.name) if each.phase in _FURTHEST]
        if not living:
            made = self._ref(self._create(spec), spec)
            on_known(made)
            return made
        living.sort(key=lambda each: (_FURTHEST.index(each.phase), each.created_at, each.id))
        on_known(self._ref(living[0], spec))
        for twin in living[1:]:
            self._delete(twin.id)
        if living[0].phase is Phase.STOPPED:
            self._update(living[0].id, "start", {"state": "STARTED"})
        return self._ref(living[0], spec)

    def find(self, name: str) -> EndpointRef | None:
        if name.startswith("endpoint-") and (found := self._endpoint(name)) is not None:
            return self._ref(found, None)
        everything = self._mine()
        same = [each for each in everything if name in (each.name, each.id)]
        same = same or [each for each in everything if each.display_name == name]
        if len(same) > 1 and EndpointName.parse(name) is None:
            ids = ", ".join(each.id for each in same)
            raise BadRequest(f"endpoint {name}: there are several of that name; give an id: {ids}")
        return self._ref(same[0], None) if same else None

    def observe(self, ref: EndpointRef) -> Observation:
        own, others = self._own_and_twins(ref)
        if own is not None and ref.created_by_us:
            for twin in others:
                # Its create answered nobody and took effect late; it would bill beside ours.
                self._delete(twin.id)
        seen = own or next(iter(others), None)
        if seen is None:
            return Observation(phase=Phase.GONE, message="there is no such endpoint")
        return Observation(
            phase=seen.phase,
            state=seen.state,
            message="not placed yet" if seen.state.upper() == "PENDING" else "",
            # v1 counts no replicas: the most there may be, so that a cost errs upwards.
            ready_replicas=seen.most if seen.phase is Phase.READY else None,
            desired_replicas=seen.most,
            # An endpoint is PENDING until its GPUs have been found.
            no_capacity=seen.state.upper() == "PENDING",
        )

    def scale(self, ref: EndpointRef, replicas: Replicas) -> None:
        own, others = self._own_and_twins(ref)
        seen = own or next(iter(others), None)
        if seen is None:
            raise TerminalError(f"endpoint {ref.name} is not there; nothing can be scaled")
        if not replicas.maximum:
            self.stop(ref)
            return
        wanted: dict[str, Any] = {"autoscaling": _bounds(replicas)}
        if seen.phase in _ASLEEP:
            wanted["state"] = "STARTED"
        self._update(seen.id, f"set replicas to {replicas}", wanted)

    def stop_known(self, ref: EndpointRef) -> bool:
        if not ref.endpoint_id:
            return False
        # One that has failed or stopped may refuse to be stopped.
        with suppress(Refused):
            self._update(ref.endpoint_id, "stop", {"state": "STOPPED"})
            return True
        return False

    def stop(self, ref: EndpointRef) -> None:
        for each in self._all(ref):
            if each.phase not in _ASLEEP:
                self._update(each.id, "stop", {"state": "STOPPED"})

    def delete(self, ref: EndpointRef) -> None:
        for each in self._all(ref):
            self._delete(each.id)

    def list_endpoints(self, prefix: str) -> list[EndpointRef]:
        found = [self._ref(each, None) for each in self._mine()]
        return [ref for ref in found if ref.name.startswith(prefix)]

    def last_use(self, ref: EndpointRef, *, within_s: float) -> Use:
        # v1 has neither events nor analytics.
        del ref
        return Use(span_s=within_s)

    def now(self) -> float:
        return self._clock.now()

    def close(self) -> None:
        self._client.close()

    # Which are meant.

    def _own_and_twins(self, ref: EndpointRef) -> tuple[EndpointV1 | None, list[EndpointV1]]:
        """Return the endpoint of a reference (None when it is gone), and others of its name.

        Only a name that we gave means anything: two of a user's may share theirs on purpose.
        """
        own = self._endpoint(ref.endpoint_id) if ref.endpoint_id else None
        if EndpointName.parse(ref.name) is not None:
            return own, [each for each in self._named(ref.name) if each.id != ref.endpoint_id]
        if ref.endpoint_id:
            return own, []
        return None, [each for each in self._mine() if each.name == ref.name]

    def _all(self, ref: EndpointRef) -> list[EndpointV1]:
        own, others = self._own_and_twins(ref)
        return [*([own] if own is not None else []), *others]

    def _named(self, display_name: str) -> list[EndpointV1]:
        return [each for each in self._mine() if each.display_name == display_name]

    def _mine(self) -> list[EndpointV1]:
        """Return all dedicated endpoints of the key, with the display names that a list lacks."""
        call = "list endpoints"
        listed = get(self._client, call, _PATH, mine="true", type="dedicated")
        found = []
        for entry in items(listed, "data"):
            if text(entry, "type") not in ("dedicated", ""):
                continue
            each = _read(call, entry, self._display_names)
            if not each.display_name:
                whole = self._endpoint(each.id)
                if whole is None:
                    continue
                each = whole
            self._display_names[each.id] = each.display_name
            found.append(each)
        return found

    # One call each.

    def _endpoint(self, endpoint_id: str) -> EndpointV1 | None:
        call = f"look at endpoint {endpoint_id}"
        try:
            return _read(call, get(self._client, call, f"{_PATH}/{endpoint_id}"), {})
        except Refused as refusal:
            if refusal.status == 404:
                return None
            raise

    def _create(self, spec: EndpointSpec) -> EndpointV1:
        call = f"create endpoint {spec.name}"
        body: dict[str, Any] = {
            "model": spec.model,
            "hardware": spec.hardware,
            "display_name": spec.name,
            "autoscaling": _bounds(spec.replicas),
            "inactive_timeout": spec.inactive_timeout_min,
            "disable_speculative_decoding": not spec.speculative_decoding,
        }
        # A region is what v1 calls a zone; an endpoint lies in one.
        if spec.regions:
            body["availability_zone"] = spec.regions[0]
        try:
            with translated(call):
                made = self._client.post(_PATH, cast_to=object, body=body)
        except Refused as refusal:
            raise HardwareUnavailable(f"{spec.hardware} was refused: {refusal.reason}") from refusal
        return _read(call, must_be_json(call, made), {})

    def _update(self, endpoint_id: str, what: str, body: dict[str, Any]) -> None:
        try:
            with translated(call := f"{what} ({endpoint_id})"):
                done = self._client.patch(f"{_PATH}/{endpoint_id}", cast_to=object, body=body)
            must_be_json(call, done)
        except Refused as refusal:
            if refusal.status != 404:
                raise

    def _delete(self, endpoint_id: str) -> None:
        try:
            with translated(call := f"delete endpoint {endpoint_id}"):
                done = self._client.delete(f"{_PATH}/{endpoint_id}", cast_to=object)
            must_be_json(call, done)
        except Refused as refusal:
            if refusal.status != 404:
                raise

    def _ref(self, endpoint: EndpointV1, spec: EndpointSpec | None) -> EndpointRef:
        ours = EndpointName.parse(endpoint.display_name) is not None or spec is not None
        return EndpointRef(
            api="v1",
            name=endpoint.display_name if ours else endpoint.name,
            endpoint_id=endpoint.id,
            inference_name=endpoint.name,
            hardware=endpoint.hardware or (spec.hardware if spec else ""),
            price_usd_per_h=spec.price_usd_per_h if spec else 0.0,
            created_by_us=spec is not None,
        )


def _bounds(replicas: Replicas) -> dict[str, int]:
    return {"min_replicas": replicas.minimum, "max_replicas": replicas.maximum}


def _read(call: str, value: Any, display_names: dict[str, str]) -> EndpointV1:
    """Read an endpoint or a list's entry (OutcomeUnknown when it is none)."""
    endpoint_id = needed(call, value, "id")
    return EndpointV1(
        id=endpoint_id,
        name=needed(call, value, "name"),
        display_name=text(value, "display_name") or display_names.get(endpoint_id, ""),
        hardware=text(value, "hardware"),
        state=text(value, "state"),
        created_at=text(value, "created_at"),
        most=count(field(value, "autoscaling"), "max_replicas"),
    )
