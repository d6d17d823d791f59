"""Notifications about runs and endpoints: `mayfly deploy --notify BLOCK`.

BLOCK is a Prefect notification block as `type/name`, such as `slack-webhook/ops`. Run it again to
change the block. It creates three automations: for a run that failed, crashed or waits for
approval; for an endpoint that outlived its run; and for sweeps that do not complete.
"""

import argparse
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import cast
from uuid import UUID

from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from mayfly.models.errors import BadRequest

ORPHAN_ENDED_EVENT = "mayfly.endpoint.left-behind"
"""Event of a sweep that had to end an endpoint."""

SILENCE = timedelta(minutes=30)
"""Time without a completed sweep: three are missing by then."""

_BODY = """\
{{ flow.name or 'mayfly' }} {{ flow_run.name }} is {{ flow_run.state.name }}: \
{{ flow_run.state.message }}
{{ flow_run|ui_url }}
"""
_HAPPENED = ("Failed", "TimedOut", "Crashed", "Paused", "Suspended")


def automations(block: UUID, *, silence: timedelta = SILENCE) -> list[Automation]:
    """Return the automations that send notifications through a block.

    Args:
        silence: Time without a completed sweep after which people are notified.
    """
    return [
        Automation(
            name="mayfly: a run needs a person",
            description="A run failed, crashed or waits for approval.",
            trigger=EventTrigger(
                posture=Posture.Reactive,
                expect={f"prefect.flow-run.{state}" for state in _HAPPENED},
                match={"prefect.resource.id": "prefect.flow-run.*"},
                match_related={
                    "prefect.resource.role": "tag",
                    "prefect.resource.id": "prefect.tag.mayfly",
                },
                for_each={"prefect.resource.id"},
                threshold=1,
            ),
            actions=[
                SendNotification(
                    block_document_id=block, subject="mayfly: a run needs you", body=_BODY
                )
            ],
        ),
        Automation(
            name="mayfly: an endpoint outlived its run",
            description="The sweep had to end an endpoint.",
            trigger=EventTrigger(
                posture=Posture.Reactive, expect={ORPHAN_ENDED_EVENT}, threshold=1
            ),
            actions=[
                SendNotification(
                    block_document_id=block,
                    subject="mayfly: the sweep ended an orphaned endpoint",
                    body="{{ event.payload }}",
                )
            ],
        ),
        Automation(
            name="mayfly: no sweep",
            description="No sweep has completed for half an hour: is the worker running?",
            trigger=EventTrigger(
                posture=Posture.Proactive,
                expect={"prefect.flow-run.Completed"},
                match_related={
                    "prefect.resource.role": "flow",
                    "prefect.resource.name": "sweep-endpoints",
                },
                threshold=1,
                within=silence,
            ),
            actions=[
                SendNotification(
                    block_document_id=block,
                    subject="mayfly: no sweep has completed for half an hour",
                    body="Endpoints of killed runs may bill. Is the worker running?",
                )
            ],
        ),
    ]


def notify_through(name: str, *, log: Callable[[str], None]) -> None:
    """Create the automations, or update those of the same name.

    Args:
        name: A notification block, as `type/name`.

    Raises:
        BadRequest: The block does not exist, or cannot send notifications.
    """
    block_id = _notification_block(name)
    for automation in automations(block_id):
        try:
            present = cast("Automation", Automation.read(name=automation.name))
        except ValueError:
            automation.create()
        else:
            automation.id = present.id
            automation.update()
        log(f"automation {automation.name!r}, through {name}")


def _notification_block(name: str) -> UUID:
    kind, slash, block_name = name.partition("/")
    if not (kind and slash and block_name):
        raise BadRequest(f"--notify {name}: write it as TYPE/NAME, such as slack-webhook/ops")
    with get_client(sync_client=True) as client:
        try:
            found = client.read_block_document_by_name(block_name, kind)
        except ObjectNotFound:
            there = (
                [f"{kind}/{block.name}" for block in client.read_block_documents_by_type(kind)]
                if _has_type(client, kind)
                else []
            )
            instead = f"; existing blocks of this type: {', '.join(there)}" if there else ""
            raise BadRequest(
                f"--notify {name}: the block does not exist{instead}; create it in Prefect's UI "
                "under Blocks"
            ) from None
    schema = found.block_schema
    if schema is None or "notify" not in schema.capabilities:
        raise BadRequest(f"--notify {name}: a block of type {kind} cannot send notifications")
    return found.id


def _has_type(client: SyncPrefectClient, kind: str) -> bool:
    try:
        client.read_block_type_by_slug(kind)
    except ObjectNotFound:
        return False
    return True


def main() -> int:
    """Run `python -m mayfly.orchestration.notifications BLOCK`; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m mayfly.orchestration.notifications", description=__doc__
    )
    parser.add_argument("block", help="a notification block, as type/name: slack-webhook/ops")
    name = parser.parse_args().block
    try:
        notify_through(name, log=print)
    except BadRequest as error:
        print(str(error).replace("--notify ", ""), file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
