"""The server: an emulated Together API on a loopback port, in its own thread."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from together_emulator.http.admin import Admin
from together_emulator.http.app import build_app
from together_emulator.http.gateway import TRANSPORT, Gateway
from together_emulator.inference.handlers import Inference
from together_emulator.inference.serving import Serving
from together_emulator.state.autoscaler import Autoscaler
from together_emulator.state.billing import Statement
from together_emulator.state.catalogue import Catalogue
from together_emulator.state.clock import Clock, RealClock
from together_emulator.state.default_catalogue import default_catalogue
from together_emulator.state.faults import FaultRule, Faults, load_rules
from together_emulator.state.incidents import Incidents
from together_emulator.state.journal import Entry, Journal
from together_emulator.state.lifecycle import Lifecycle
from together_emulator.state.settings import Settings
from together_emulator.state.store import Store
from together_emulator.v1.endpoints import LegacyCalls
from together_emulator.v2.deployments import DeploymentCalls

if TYPE_CHECKING:
    # Its HTTP client takes a while to import, and few servers have anything behind them.
    from together_emulator.inference.upstream import Upstream

T = TypeVar("T")
_START_DEADLINE_S = 10.0
_HEARTBEAT_S = 0.05
Free = Mapping[tuple[str, str | None], int]


class _Protocol(HttpToolsProtocol):
    """Passes the connection to the application, so that faults can reset it."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[TRANSPORT] = self.transport  # type: ignore[literal-required]


class _Server(uvicorn.Server):
    """Stops at once when `end` is called, without uvicorn's polling interval."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ended = asyncio.Event()

    def end(self) -> None:
        self.should_exit = True
        self._ended.set()

    async def main_loop(self) -> None:
        tenths = 0
        while not await self.on_tick(tenths):
            tenths += 10
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), 1.0)


def _upstream(settings: Settings) -> "Upstream | None":
    if not settings.upstream:
        return None
    from together_emulator.inference.upstream import Upstream  # noqa: PLC0415 - see TYPE_CHECKING

    models = dict(settings.upstream_models)
    return Upstream(settings.upstream, models=models, key=settings.upstream_key)


class Emulator:
    """An emulated Together API; a context manager.

    Example:
        with Emulator(clock=ManualClock()) as emulator:
            client = Together(base_url=emulator.url, api_key=emulator.key)
            ...
            emulator.clock.advance(600)
            assert emulator.ledger().billing == 1
    """

    def __init__(
        self,
        *,
        speed: float = 60.0,
        clock: Clock | None = None,
        catalogue: Catalogue | None = None,
        faults: Iterable[FaultRule] | Path = (),
        free: Free | None = None,
        settings: Settings | None = None,
        port: int = 0,
        **overrides: Any,
    ) -> None:
        """Create the server; it listens once the context is entered.

        Args:
            speed: Emulated seconds per real second, if no clock is given.
            faults: Rules, or a JSON or TOML file with rules.
            free: Free replicas by (hardware, region); region None means every region.
            port: Port on 127.0.0.1; 0 for a free one.
            overrides: Fields of Settings.
        """
        self.clock: Clock = RealClock(speed) if clock is None else clock
        settings = replace(settings or Settings(), **overrides)
        self._speed = self.clock.speed
        self.key = settings.key
        self.url = ""
        self._port = port
        self._store = Store(
            settings=settings, clock=self.clock, catalogue=catalogue or default_catalogue()
        )
        for (hardware, region), replicas in (free or {}).items():
            self._store.capacity.set_free(hardware, region, replicas)
        lifecycle = Lifecycle(self._store)
        Autoscaler(self._store, lifecycle)
        rules = load_rules(faults) if isinstance(faults, Path) else faults
        self._faults = Faults(rules, seed=settings.seed)
        self._journal = Journal(keep_bodies=settings.keep_bodies, seed=settings.seed)
        self._incidents = Incidents(self._store, lifecycle)
        admin = Admin(
            self._store, faults=self._faults, journal=self._journal, incidents=self._incidents
        )
        self._inference = Inference(
            self._store, Serving(self._store, lifecycle), _upstream(settings)
        )
        app = build_app(
            self._store,
            deployments=DeploymentCalls(lifecycle),
            legacy=LegacyCalls(lifecycle),
            inference=self._inference,
            admin=admin,
        )
        self._gateway = Gateway(
            app,
            store=self._store,
            faults=self._faults,
            journal=self._journal,
            incidents=self._incidents,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: _Server | None = None
        self._failure: BaseException | None = None
        self._up = threading.Event()

    @property
    def settings(self) -> Settings:
        """The current settings."""
        return self._store.settings

    def change(self, **fields: Any) -> None:
        """Change settings at run time (`key`, `seed` and `keep_bodies` have no effect)."""
        self._on_loop(lambda: self._store.change(**fields))

    @property
    def project_id(self) -> str:
        """The project that the key belongs to."""
        return self._store.project_id

    def __enter__(self) -> Self:
        """Start listening (RuntimeError if that takes too long, OSError if the port is in use)."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self._port))
            listener.listen(2048)
        except OSError:
            listener.close()
            raise
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._server = _Server(
            uvicorn.Config(
                self._gateway,
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_level="error",
                access_log=False,
                timeout_keep_alive=120,
                timeout_graceful_shutdown=2,
                server_header=False,
            )
        )
        self._thread = threading.Thread(
            target=self._run, args=(listener,), name="together_emulator", daemon=True
        )
        self._thread.start()
        if not self._up.wait(_START_DEADLINE_S) or self._failure is not None:
            raise RuntimeError(
                f"the emulator did not start within {_START_DEADLINE_S:g} s"
            ) from self._failure
        self.clock.on_advance(self._advanced)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening, and reset hanging connections."""
        del kind, error, trace
        if self._server is None or self._thread is None or self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._server.end)
        self._loop.call_soon_threadsafe(self._gateway.close)
        self._thread.join(_START_DEADLINE_S)
        self._loop = None

    def _run(self, listener: socket.socket) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(self._serve(listener))
            except BaseException as error:  # noqa: BLE001 - raised by __enter__
                self._failure = error
                self._up.set()

    async def _serve(self, listener: socket.socket) -> None:
        if self._server is None:
            return
        self._loop = asyncio.get_running_loop()
        beat = asyncio.create_task(self._beat())
        try:
            await self._server.serve(sockets=[listener])
        finally:
            beat.cancel()
            listener.close()
            await self._inference.close()

    async def _beat(self) -> None:
        """Signal that the server is up, and run due events of a real-time clock."""
        while self._server is not None and not self._server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        self._up.set()
        while self.clock.speed:
            await asyncio.sleep(_HEARTBEAT_S)
            self._store.settle()
            self._adjust_speed()

    def _adjust_speed(self) -> None:
        """Run at `serving_speed` while an endpoint serves, so that only waits are shortened."""
        wanted = self._store.settings.serving_speed
        if not wanted or not isinstance(self.clock, RealClock):
            return
        if not any(d.ready and d.desired for d in self._store.deployments.values()):
            wanted = self._speed
        if wanted != self.clock.speed:
            self.clock.run_at(wanted)

    def _on_loop(self, call: Callable[[], T]) -> T:
        """Call a function in the server's thread and return its result; directly if not running."""
        loop = self._loop
        if loop is None or threading.current_thread() is self._thread:
            return call()
        done: Future[T] = Future()

        def run() -> None:
            try:
                self._store.settle()
                done.set_result(call())
            except BaseException as error:  # noqa: BLE001 - raised in the calling thread
                done.set_exception(error)

        loop.call_soon_threadsafe(run)
        return done.result(_START_DEADLINE_S)

    def _advanced(self) -> None:
        self._on_loop(self._store.settle)

    def ledger(self) -> Statement:
        """Return the bill until now."""
        return self._on_loop(lambda: self._store.ledger.statement(self._store.now_s))

    def calls(self) -> list[Entry]:
        """Return the journal of all requests except to the admin API, oldest first."""
        return self._on_loop(self._journal.entries)

    def use_faults(self, *rules: FaultRule) -> None:
        """Replace all fault rules."""
        self._on_loop(lambda: self._faults.replace(rules))

    def set_free(self, hardware: str, replicas: int, region: str | None = None) -> None:
        """Set the number of free replicas."""
        self._on_loop(lambda: self._store.capacity.set_free(hardware, region, replicas))

    def vanish(self, target: str = "") -> int:
        """Remove the endpoints with names that match a regular expression; return how many."""
        return self._on_loop(lambda: self._incidents.vanish(target))

    def lose_replica(self, target: str = "") -> int:
        """Remove a ready replica from each deployment of matching endpoints; return how many."""
        return self._on_loop(lambda: self._incidents.lose_replica(target))

    def endpoints(self) -> list[str]:
        """Return the names of all endpoints."""
        slug = self._store.slug
        return self._on_loop(lambda: [f"{slug}/{e.name}" for e in self._store.endpoints.values()])

    def states(self) -> dict[str, str]:
        """Return each deployment's state by its full name."""

        def read() -> dict[str, str]:
            store = self._store
            return {
                f"{store.slug}/{store.endpoints[d.endpoint_id].name}/{d.name}": d.state.value
                for d in store.deployments.values()
            }

        return self._on_loop(read)

    @property
    def has_endpoints(self) -> bool:
        """Whether any endpoint exists."""
        return self._on_loop(lambda: bool(self._store.endpoints))

    @property
    def billing(self) -> int:
        """Number of replicas that are billed now."""
        return self._on_loop(lambda: self._store.ledger.billing)
