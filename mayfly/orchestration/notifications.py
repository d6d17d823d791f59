"""`python -m mayfly.orchestration.notifications BLOCK`: who is notified of runs and endpoints.

BLOCK is a notification block of Prefect's, as `type/name`: `slack-webhook/ops`. Run it again to
name another. Three automations come of it: two for what happened (a run that failed, crashed or
waits for approval; an endpoint that outlived its run), one for what did not (a sweep).
"""

import argparse
from datetime import timedelta
from typing import cast
from uuid import UUID

from prefect.automations import Automation
from prefect.blocks.core import Block
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture

from mayfly.tasks.sweep import LEFT_BEHIND

SILENCE = timedelta(minutes=30)
"""Three sweeps are missing by then."""

_BODY = """\
{{ flow.name or 'mayfly' }} {{ flow_run.name }} is {{ flow_run.state.name }}: \
{{ flow_run.state.message }}
{{ flow_run|ui_url }}
"""
_HAPPENED = ("Failed", "TimedOut", "Crashed", "Paused")


def automations(block: UUID) -> list[Automation]:
    """Return the automations that tell people through a notification block."""
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
                SendNotification(block_document_id=block, subject="mayfly: look here", body=_BODY)
            ],
        ),
        Automation(
            name="mayfly: an endpoint outlived its run",
            description="The sweep had to end an endpoint.",
            trigger=EventTrigger(posture=Posture.Reactive, expect={LEFT_BEHIND}, threshold=1),
            actions=[
                SendNotification(
                    block_document_id=block,
                    subject="mayfly: the sweep ended an endpoint that its run had left behind",
                    body="{{ event.payload }}",
                )
            ],
        ),
        Automation(
            name="mayfly: no sweep",
            description="No sweep has completed for half an hour: is the worker there?",
            trigger=EventTrigger(
                posture=Posture.Proactive,
                expect={"prefect.flow-run.Completed"},
                match_related={
                    "prefect.resource.role": "flow",
                    "prefect.resource.name": "sweep-endpoints",
                },
                threshold=1,
                within=SILENCE,
            ),
            actions=[
                SendNotification(
                    block_document_id=block,
                    subject="mayfly: no sweep has completed for half an hour",
                    body="What a killed run leaves behind may bill. Is the worker running?",
                )
            ],
        ),
    ]


def main() -> None:
    """Create the automations, or change those of the same name."""
    parser = argparse.ArgumentParser(
        prog="python -m mayfly.orchestration.notifications", description=__doc__
    )
    parser.add_argument("block", help="a notification block, as type/name: slack-webhook/ops")
    name = parser.parse_args().block
    block = cast("Block", Block.load(name))
    block_id = cast("UUID", block._block_document_id)  # noqa: SLF001 - no other way to it
    for automation in automations(block_id):
        try:
            standing = cast("Automation", Automation.read(name=automation.name))
        except ValueError:
            automation.create()
        else:
            automation.id = standing.id
            automation.update()
        print(f"{automation.name}: told through {name}")  # noqa: T201


if __name__ == "__main__":
    main()
