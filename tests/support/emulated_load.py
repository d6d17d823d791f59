"""Load on an emulator whose clock is stopped, and a deployment for arithmetic."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.emulator.conftest import TLS
from tests.support.emulator_client import SMALL, EmulatorClient
from together_emulator import Emulator, ManualClock
from together_emulator.state.default_catalogue import default_catalogue
from together_emulator.state.store import Deployment


def deployment() -> Deployment:
    """Return a deployment of the small model, for arithmetic."""
    catalogue = default_catalogue()
    config = next(c for c in catalogue.configs.values() if c.model.name == SMALL)
    return Deployment(
        id="dep",
        endpoint_id="ep",
        name="main",
        model=config.model,
        config=config,
        revision="rv",
        bounds=(1, 1),
        autoscaling={},
        concurrency=0,
        price_cents_per_h=549,
        created_s=0,
        updated_s=0,
        etag="",
    )


class Crowd:
    """Requests in flight while the clock is stopped."""

    def __init__(self, api: EmulatorClient, clock: ManualClock) -> None:
        self.api = api
        self.clock = clock
        self.statuses: list[int] = []
        self._thread: threading.Thread | None = None

    def send(self, model: str, count: int) -> None:
        """Send so many requests at once; returns when all have arrived."""
        before = len(self.api.emulator.calls())
        url, headers = self.api.emulator.url, {"authorization": "Bearer local"}
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}

        async def all_of_them() -> None:
            async with httpx.AsyncClient(
                base_url=url, headers=headers, verify=TLS, timeout=60
            ) as http:
                for call in asyncio.as_completed(
                    [http.post("/v1/chat/completions", json=body) for _ in range(count)]
                ):
                    self.statuses.append((await call).status_code)

        self._thread = threading.Thread(target=lambda: asyncio.run(all_of_them()))
        self._thread.start()
        while len(self.api.emulator.calls()) < before + count:
            pass

    def finish(self) -> None:
        """Move the clock until every request is answered."""
        while self._thread is not None and self._thread.is_alive():
            self.clock.advance(1)
            self._thread.join(0.005)


@contextmanager
def crowd_on(**settings: Any) -> Iterator[Crowd]:
    clock = ManualClock(holds_answers=True)
    with (
        Emulator(clock=clock, **settings) as emulator,
        httpx.Client(
            base_url=emulator.url,
            headers={"authorization": "Bearer local"},
            verify=TLS,
            timeout=20,
        ) as http,
    ):
        crowd = Crowd(EmulatorClient(emulator, http), clock)
        yield crowd
        crowd.finish()
