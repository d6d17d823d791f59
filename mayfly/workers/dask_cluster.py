"""An existing Dask cluster, attached to for a run and checked before use.

`distributed` is imported only on use. The run talks to workers directly, so rows, answers and keys
never pass through the scheduler.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from mayfly.models.errors import BadRequest
from mayfly.storage.dataset import Dataset
from mayfly.storage.media_files import LocalFile
from mayfly.storage.uri_credentials import MASK
from mayfly.together.connection import Connection
from mayfly.workers.dask_checks import WorkerInfo, WorkerNeeds, describe_worker, difference
from mayfly.workers.dask_demand import Demand
from mayfly.workers.dask_worker import WorkerActor, problem, stay

CONNECT_S = 10.0
PROBE_S = 60.0
"""Time limit for the check of a worker."""

START_S = 15.0
"""Time limit for starting an actor on a worker that has just responded."""

NOTICE_AFTER_S = 5.0
"""Seconds of waiting for workers before a message is shown."""

WORKERS_S = 60.0
"""Seconds to wait for workers of an empty cluster: an adaptive one starts them on demand."""

CLOSE_S = 3.0


class StartedActor(NamedTuple):
    """An actor on a Dask worker; both futures keep it until they are released.

    Attributes:
        actor: The actor's handle.
        staying: The task that keeps an adaptive cluster from closing that worker.
    """

    actor: Any
    staying: Any


class DaskCluster:
    """A cluster whose workers have been checked; use it as a context manager.

    Args:
        address: `tcp://HOST:PORT` or `tls://HOST:PORT` of the scheduler.
        dataset: The input; workers read it if it is remote, and get rows from the run otherwise.
        connection: The run's connection to the API.
        project: Id of the run's project, or "".
        file: A file of this machine that a cell names, if there are such files.
        log: Receives messages for the user.

    Raises:
        BadRequest: On entering: a worker cannot be used; the message says which and why.
    """

    def __init__(
        self,
        address: str,
        dataset: Dataset,
        *,
        connection: Connection,
        project: str = "",
        file: LocalFile | None = None,
        log: Callable[[str], object],
        workers_s: float = WORKERS_S,
    ) -> None:
        self.address, self._log = address, log
        # Credentials in a URI stay in the run's process.
        remote = all(file.remote for file in dataset.files) and not dataset.packed
        self.workers_read = remote and MASK not in dataset.uri
        self._dataset = dataset if self.workers_read else None
        self._connection, self._project, self._workers_s = connection, project, workers_s
        self._file = file
        self._client: Any = None
        self._fit: set[str] = set()
        self._first: Demand | None = None
        self._own = WorkerInfo("", "", "", "")

    def is_private(self, worker: str) -> bool:
        """Return whether what is sent to a worker is encrypted, so that it may hold a key."""
        return worker.startswith("tls://")

    def headers_for(self, worker: str) -> dict[str, str]:
        """Return the headers that a worker sends requests with; none where it has its own key."""
        if self.is_private(worker):
            return self._connection.headers()
        if not self._connection.key_is_secret:
            return {"Authorization": f"Bearer {self._connection.api_key}"}
        return {}

    def __enter__(self) -> Self:
        self._reach()
        try:
            from distributed import Client  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise BadRequest(
                "--runner dask needs the extra `dask`; install it with pip install 'mayfly[dask]'"
            ) from error
        _quiet()
        self._own = describe_worker()
        try:
            # An actor's handle uses the default client.
            self._client = Client(  # type: ignore[no-untyped-call]
                self.address,
                timeout=CONNECT_S,
                set_as_default=True,
                direct_to_workers=True,
                name="mayfly",
            )
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            more = (
                "; see Dask's settings distributed.comm.tls.ca-file, client.cert and client.key"
                if self.address.startswith("tls://")
                else ""
            )
            raise BadRequest(
                f"--dask {self.address}: no Dask scheduler responds there ({_line(error)}){more}; "
                "give the address that `dask scheduler` prints"
            ) from error
        try:
            self._check()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect from the cluster; do not wait for one that does not respond."""
        client, self._client = self._client, None
        if client is None:
            return

        def close() -> None:
            with suppress(Exception):
                client.close(timeout=CLOSE_S)

        thread = threading.Thread(target=close, name="close cluster", daemon=True)
        thread.start()
        thread.join(CLOSE_S + 1)

    @property
    def lost(self) -> bool:
        """Whether the scheduler is no longer reachable."""
        client = self._client
        return client is None or client.status != "running"

    def addresses(self) -> list[str]:
        """Return the addresses of the current workers."""
        with suppress(Exception):
            info = self._client.scheduler_info(n_workers=-1)
            return sorted(info["workers"])
        return []

    def fits(self, address: str) -> bool:
        """Return whether a worker that may have joined later can be used; report it if not."""
        if address in self._fit:
            return True
        if wrong := self._wrong(address):
            self._log(f"{wrong}; it is not used")
        return not wrong

    def start(self, address: str) -> StartedActor:
        """Start an actor on a worker of the cluster.

        Raises:
            Exception: Any error that Dask raises.
        """
        there = {"workers": [address], "allow_other_workers": False, "pure": False}
        future = self._client.submit(WorkerActor, actor=True, priority=10, **there)
        try:
            actor = future.result(timeout=START_S)
        except BaseException:
            future.release()
            raise
        return StartedActor(actor, self._client.submit(stay, future.key, priority=10, **there))

    def demand(self) -> Demand:
        """Return the demand for workers of an adaptive cluster."""
        return Demand(self._client)

    def _reach(self) -> None:
        try:
            parts = urlsplit(self.address)
            if parts.scheme not in ("tcp", "tls") or not parts.hostname or not parts.port:
                raise BadRequest(
                    f"--dask {self.address} is not the address of a scheduler; give "
                    "tcp://HOST:PORT or tls://HOST:PORT"
                )
            # Dask would retry; a refused connection is final here.
            socket.create_connection((parts.hostname, parts.port), CONNECT_S).close()
        except (OSError, ValueError) as error:
            raise BadRequest(
                f"--dask {self.address}: no Dask scheduler responds there ({_line(error)}); give "
                "the address that `dask scheduler` prints"
            ) from error

    def _check(self) -> None:
        if not (addresses := self.addresses() or self._await_workers()):
            raise BadRequest(
                f"--dask {self.address}: the cluster has no workers; start some with "
                f"`dask worker {self.address}`"
            )
        found: SimpleQueue[str] = SimpleQueue()
        silent = set(addresses)

        def check(address: str) -> None:
            wrong = self._wrong(address)
            if wrong and address not in self.addresses():
                wrong = ""  # It has left meanwhile.
            silent.discard(address)
            found.put(wrong)

        # In separate threads: a paused worker does not respond.
        for address in addresses:
            _in_background(check, address)
        end, noticed = time.monotonic() + PROBE_S, False
        for _ in addresses:
            while True:
                left_s = end - time.monotonic()
                try:
                    wrong = found.get(timeout=max(0.0, left_s if noticed else NOTICE_AFTER_S))
                    break
                except Empty:
                    waited_for = _named(silent)
                    if left_s <= 0:
                        raise BadRequest(
                            f"--dask {self.address}: no answer from {waited_for} within "
                            f"{PROBE_S:.0f} s; end it, or see its log"
                        ) from None
                    noticed = True
                    self._log(f"--dask {self.address}: waiting {left_s:.0f} s for {waited_for}")
            if wrong:
                raise BadRequest(wrong)

    def _await_workers(self) -> list[str]:
        self._log(f"--dask {self.address} has no workers; waiting up to {self._workers_s:.0f} s")
        end = time.monotonic() + self._workers_s
        # One is enough for the check; more are requested when there is work. It is requested
        # until the end, because an adaptive cluster would close it before the run uses it.
        self._first = self.demand()
        self._first.ask_for(1)
        while not (addresses := self.addresses()) and time.monotonic() < end and not self.lost:
            time.sleep(0.2)
        return addresses

    def _run(self, address: str, function: Callable[..., Any], *args: object) -> Any:
        try:
            found = self._client.run(function, *args, workers=[address], on_error="return")
        except Exception as error:  # noqa: BLE001 - Dask raises what a worker has raised
            return error
        return found.get(address)

    def _wrong(self, address: str) -> str:
        """Return why a worker cannot be used, or ""."""
        at = f"--dask {self.address}: worker {address}"
        own, has = self._own, self._run(address, describe_worker)
        if not isinstance(has, WorkerInfo):
            return f"{at} cannot run mayfly ({_line(has)}); install mayfly[dask] {own.mayfly} there"
        if differs := difference(own, has):
            return f"{at} {differs}"
        needs = WorkerNeeds(
            self._dataset,
            self._connection.base_url,
            self._connection.inference_url,
            self._project,
            own_key=not self.headers_for(address),
            file=self._file,
        )
        wrong = self._run(address, problem, needs)
        if not isinstance(wrong, str):
            wrong = f"cannot be checked ({_line(wrong)}); see its log"
        if wrong:
            return f"{at} {wrong}"
        self._fit.add(address)
        return ""


def _named(workers: Iterable[str]) -> str:
    first, *more = sorted(workers) or ["the workers"]
    return f"worker {first}" + (f" and {len(more)} more" if more else "")


def _in_background(function: Callable[..., object], *args: object) -> None:
    threading.Thread(target=function, args=args, name="check worker", daemon=True).start()


def _line(error: object) -> str:
    words = " ".join(str(error).split())
    return words if isinstance(error, OSError) and words else f"{type(error).__name__}: {words}"


def _quiet() -> None:
    """Silence Dask's loggers: the run reports what matters."""
    for name in ("distributed", *logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
