"""A Dask cluster that exists already, attached to for a run and checked before it is used.

`distributed` is loaded only where one is used. The run talks to workers directly, so that rows,
answers and keys never pass through the scheduler.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from mayfly.models.errors import BadRequest
from mayfly.storage.dataset import Dataset
from mayfly.workers.dask_worker import WorkerActor, WorkerFacts, facts

CONNECT_S = 10.0
PROBE_S = 30.0

WORKERS_S = 60.0
"""How long a cluster without workers is waited for: an adaptive one starts them when asked to."""

CLOSE_S = 3.0


class DaskCluster:
    """A cluster and its workers as they were checked; use as a context manager.

    Args:
        address: `tcp://HOST:PORT` or `tls://HOST:PORT` of the scheduler.
        dataset: The input; workers read it where it is remote, and get rows from the run otherwise.
        log: Receives messages for the user.

    Raises:
        BadRequest: On entering: what is missing, and on which worker.
    """

    def __init__(self, address: str, dataset: Dataset, *, log: Callable[[str], object]) -> None:
        self.address, self._log = address, log
        self.workers_read = all(file.remote for file in dataset.files) and not dataset.packed
        self._dataset = dataset if self.workers_read else None
        self._client: Any = None
        self._refused: set[str] = set()
        self._own: WorkerFacts | None = None

    @property
    def private(self) -> bool:
        """Whether what is sent to workers is encrypted, so that it may hold a key."""
        return self.address.startswith("tls://")

    def __enter__(self) -> Self:
        self._reach()
        try:
            from distributed import Client  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise BadRequest(
                "--runner dask needs the extra `dask`; install it with pip install 'mayfly[dask]'"
            ) from error
        _quiet()
        self._own = facts(None)
        try:
            # An actor's handle finds its client only as the default one.
            self._client = Client(  # type: ignore[no-untyped-call]
                self.address,
                timeout=CONNECT_S,
                set_as_default=True,
                direct_to_workers=True,
                name="mayfly",
            )
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise BadRequest(
                f"--dask {self.address}: no Dask scheduler answers there ({_line(error)}); give "
                "the address that `dask scheduler` prints"
            ) from error
        try:
            self._check()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the cluster; one that does not answer is left to itself."""
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
        """Whether the scheduler cannot be reached any more."""
        client = self._client
        return client is None or client.status != "running"

    def addresses(self) -> list[str]:
        """Return the addresses of the workers that there are now."""
        with suppress(Exception):
            info = self._client.scheduler_info(n_workers=-1)
            return sorted(info["workers"])
        return []

    def fits(self, address: str) -> bool:
        """Whether a worker that has joined later can be used; one that cannot is named once."""
        if address in self._refused:
            return False
        wrong = self._wrong({address: self._facts([address]).get(address)})
        if wrong:
            self._refused.add(address)
            self._log(f"{wrong}; it is not used")
        return not wrong

    def start(self, address: str) -> Any:
        """Return an actor on a worker.

        Raises:
            Exception: Whatever Dask raises.
        """
        future = self._client.submit(
            WorkerActor, actor=True, workers=[address], allow_other_workers=False, pure=False
        )
        return future.result(timeout=PROBE_S)

    def _reach(self) -> None:
        parts = urlsplit(self.address)
        try:
            if parts.scheme not in ("tcp", "tls") or not parts.hostname or not parts.port:
                raise BadRequest(
                    f"--dask {self.address} is not the address of a scheduler; give "
                    "tcp://HOST:PORT or tls://HOST:PORT"
                )
            # Dask tries again and again; a refusal is an answer.
            socket.create_connection((parts.hostname, parts.port), CONNECT_S).close()
        except (OSError, ValueError) as error:
            raise BadRequest(
                f"--dask {self.address}: no Dask scheduler answers there ({_line(error)}); give "
                "the address that `dask scheduler` prints"
            ) from error

    def _check(self) -> None:
        addresses = self.addresses()
        if not addresses:
            self._log(f"--dask {self.address} has no workers; waiting up to {WORKERS_S:.0f} s")
            # An adaptive cluster starts workers for work that waits.
            wanted = self._client.submit(facts, None, pure=False)
            end = time.monotonic() + WORKERS_S
            while not (addresses := self.addresses()) and time.monotonic() < end:
                time.sleep(0.2)
            wanted.release()
        if not addresses:
            raise BadRequest(
                f"--dask {self.address}: the cluster has no workers; start some with "
                f"`dask worker {self.address}`"
            )
        found = self._facts(addresses)
        if wrong := self._wrong({address: found.get(address) for address in addresses}):
            raise BadRequest(wrong)

    def _facts(self, addresses: list[str]) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._client.run(
                facts, self._dataset, workers=addresses, on_error="return"
            )
        except Exception as error:  # noqa: BLE001 - Dask raises what a worker has raised
            return dict.fromkeys(addresses, error)
        return found

    def _wrong(self, found: dict[str, Any]) -> str:
        """Return what is wrong with the first worker with which something is, or ""."""
        own = self._own
        assert own is not None  # noqa: S101 - set on entering
        for address, has in found.items():
            at = f"--dask {self.address}: worker {address}"
            if not isinstance(has, WorkerFacts):
                return (
                    f"{at} cannot run mayfly ({_line(has)}); install the same version of "
                    "mayfly[dask] there"
                )
            for what, ours, theirs in (
                ("Python", own.python, has.python),
                ("distributed", own.distributed, has.distributed),
            ):
                if ours != theirs:
                    return f"{at} has {what} {theirs}, this run has {ours}; install the same there"
            if has.source != own.source:
                return f"{at} has another version of mayfly than this run; install the same there"
            if not has.has_key and not self.private:
                return (
                    f"{at} has no key; set TOGETHER_API_KEY or TOGETHER_API_KEY_FILE there, or "
                    "use a tls:// address, over which the run's key is sent"
                )
            if has.unreadable:
                return (
                    f"{at} cannot read the input ({has.unreadable}); give it access to "
                    "the input's storage"
                )
        return ""


def _line(error: object) -> str:
    words = " ".join(str(error).split())
    return words if isinstance(error, OSError) and words else f"{type(error).__name__}: {words}"


def _quiet() -> None:
    """Keep Dask's own log off the terminal: what matters of it is said by the run."""
    for name in ("distributed", *logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
