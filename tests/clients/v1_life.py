"""The lifecycle of a legacy endpoint by the SDK 2.42, sync and async.

It runs in the Python of a virtual environment with that SDK; it prints what it observed as JSON.
"""

import asyncio
import json
import sys
import time
from typing import Any

from together import AsyncTogether, Together

model, hardware = sys.argv[1:3]
MESSAGES: Any = [{"role": "user", "content": "Why?"}]


def sync_life(client: Any) -> dict[str, Any]:
    """Live with the blocking client."""

    def wait(state: str) -> None:
        until = time.monotonic() + 60
        while client.endpoints.retrieve(endpoint.id).state != state:
            if time.monotonic() > until:
                raise TimeoutError(state)
            time.sleep(0.05)

    fitting = client.endpoints.list_hardware(model=model).data
    zones = client.endpoints.list_avzones().avzones
    endpoint = client.endpoints.create(
        model=model,
        hardware=hardware,
        autoscaling={"min_replicas": 1, "max_replicas": 1},
        display_name="sdk-2",
        disable_speculative_decoding=True,
        inactive_timeout=1440,
        availability_zone=zones[0],
    )
    wait("STARTED")
    answer = client.chat.completions.create(model=endpoint.name, messages=MESSAGES)
    pieces = list(
        client.chat.completions.create(model=endpoint.name, messages=MESSAGES, stream=True)
    )
    text = client.completions.create(model=endpoint.name, prompt="Once", max_tokens=4)
    grown = client.endpoints.update(
        endpoint.id, autoscaling={"min_replicas": 1, "max_replicas": 2}, display_name="renamed"
    )
    client.endpoints.update(endpoint.id, state="STOPPED")
    wait("STOPPED")
    client.endpoints.update(endpoint.id, state="STARTED")
    wait("STARTED")
    listed = [entry.id for entry in client.endpoints.list(type="dedicated", mine=True).data]
    client.endpoints.delete(endpoint.id)
    return {
        "who": client.whoami().project_slug,
        "hardware": [kind.id for kind in fitting],
        "price": [kind.pricing.cents_per_minute for kind in fitting],
        "available": [kind.availability.status for kind in fitting],
        "endpoint": endpoint.id,
        "answer": answer.choices[0].message.content,
        "streamed": "".join(piece.choices[0].delta.content or "" for piece in pieces),
        "written": text.usage.completion_tokens,
        "renamed": [grown.display_name, grown.autoscaling.max_replicas],
        "listed": listed,
        "left": [entry.id for entry in client.endpoints.list(type="dedicated", mine=True).data],
    }


async def async_life(client: Any) -> list[str]:
    """Live a shorter life with the other client."""
    endpoint = await client.endpoints.create(
        model=model,
        hardware=hardware,
        autoscaling={"min_replicas": 2, "max_replicas": 2},
        display_name="sdk-2-async",
    )
    states = [endpoint.state]
    until = time.monotonic() + 60
    while states[-1] != "STARTED" and time.monotonic() < until:
        states.append((await client.endpoints.retrieve(endpoint.id)).state)
        await asyncio.sleep(0.05)
    server_answers = await asyncio.gather(
        *(client.chat.completions.create(model=endpoint.name, messages=MESSAGES) for _ in range(4))
    )
    await client.endpoints.delete(endpoint.id)
    return [*dict.fromkeys(states), *{answer.model for answer in server_answers}]


async def both() -> None:
    with Together(_strict_response_validation=True) as client:
        seen = sync_life(client)
    async with AsyncTogether(_strict_response_validation=True) as client:
        seen["async"] = await async_life(client)
    print(json.dumps(seen))  # noqa: T201 - what it is run for


asyncio.run(both())
