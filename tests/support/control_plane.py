"""Fixtures of the contract tests: an emulator on a manual clock, and a control plane."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from mayfly.models.endpoint import (
    Api,
    EndpointName,
    EndpointRef,
    EndpointSpec,
    Observation,
    Replicas,
)
from mayfly.models.errors import RetryableError
from mayfly.models.offers import Offer, same_hardware
from mayfly.models.teardown import TeardownProof
from mayfly.together.connection import Connection
from mayfly.together.control_plane import ControlPlane
from mayfly.together.factory import connect
from mayfly.together.readiness import await_ready
from mayfly.together.teardown import tear_down
from together_emulator import Emulator

T = TypeVar("T")

SMALL = "Qwen/Qwen2.5-7B-Instruct"
MEDIUM = "Qwen/Qwen3-32B"
LARGE = "meta-llama/Llama-3.3-70B-Instruct"
NAME = str(EndpointName(namespace="contract", job="0123456789", until=0x7FFFFFFF))
OTHER_NAME = str(EndpointName(namespace="contract", job="abcdefabcd", until=0x7FFFFFFF))
ONE = Replicas()
COLD_START_S = 400.0
DRAIN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedService:
    """One generation of the API, spoken to one server.

    Attributes:
        url: Where the server is that the plane speaks to; the emulator, or one before it.
    """

    api: Api
    emulator: Emulator
    plane: ControlPlane
    url: str

    def offer(self, model: str = SMALL, hardware: str = "1xnvidia-h100-80gb") -> Offer:
        """Return what is offered for a model on some hardware."""
        return next(o for o in self.plane.offers(model) if same_hardware(o.hardware, hardware))

    def spec(
        self,
        name: str = NAME,
        *,
        model: str = SMALL,
        hardware: str = "1xnvidia-h100-80gb",
        replicas: Replicas = ONE,
        regions: tuple[str, ...] = (),
        inactive_timeout_min: int = 30,
        speculative_decoding: bool = True,
    ) -> EndpointSpec:
        """Return what to create."""
        offer = self.offer(model, hardware)
        return EndpointSpec(
            name=name,
            model=model,
            hardware=offer.hardware,
            price_usd_per_h=offer.price_usd_per_h,
            model_ref=offer.model_ref,
            config_ref=offer.config_ref,
            replicas=replicas,
            regions=regions,
            inactive_timeout_min=inactive_timeout_min,
            speculative_decoding=speculative_decoding,
        )

    def serve(self, spec: EndpointSpec | None = None) -> EndpointRef:
        """Create an endpoint and let its cold start pass."""
        ref = self.plane.create(spec or self.spec())
        self.emulator.clock.advance(COLD_START_S)
        return ref

    def await_ready(
        self,
        ref: EndpointRef,
        *,
        ready_timeout_s: float = 3600.0,
        capacity_timeout_s: float = 300.0,
        on_observation: Callable[[Observation], None] = lambda _look: None,
    ) -> Observation:
        """Wait for READY on the emulator's own clock."""
        return await_ready(
            self.plane,
            ref,
            ready_timeout_s=ready_timeout_s,
            capacity_timeout_s=capacity_timeout_s,
            on_observation=on_observation,
            clock=self.emulator.clock.now_s,
            sleep=self.emulator.clock.advance,
        )

    def tear_down(self, ref: EndpointRef, *, budget_s: float = 3600.0) -> TeardownProof:
        """End an endpoint on the emulator's own clock."""
        return tear_down(
            self.plane,
            ref,
            policy="delete",
            line="endpoints command",
            budget_s=budget_s,
            now=self.emulator.clock.now_s,
            clock=self.emulator.clock.now_s,
            sleep=self.emulator.clock.advance,
            uniform=lambda _low, high: high,
        )

    def made(self) -> int:
        """Return how many endpoints exist."""
        return len(self.emulator.endpoints())


def repeated(call: Callable[[], T], times: int = 20) -> T:
    """Do what the flow's steps do: repeat a call that may succeed later."""
    for _ in range(times - 1):
        try:
            return call()
        except RetryableError:
            continue
    return call()


def connection(url: str, *, project: str = "", timeout_s: float = 20.0) -> Connection:
    """Return a connection to a server on loopback."""
    return Connection(
        base_url=url,
        inference_url=f"{url}/v1",
        provider="loopback",
        project=project,
        namespace="contract",
        api_key="local",
        timeout_s=timeout_s,
    )


@contextmanager
def emulated_service(
    api: Api, emulator: Emulator, *, url: str = "", project: str = "", timeout_s: float = 20.0
) -> Iterator[EmulatedService]:
    """Open the control plane to an emulator, or to the server before it at `url`."""
    url = url or emulator.url
    with connect(api, connection(url, project=project, timeout_s=timeout_s)) as plane:
        yield EmulatedService(api=api, emulator=emulator, plane=plane, url=url)
