"""What Prefect calls beside the flow: its run's name, and its hooks.

Hooks are the second line of defence. They run in the flow's process after its `finally`, or in
the worker's when the process has died; where a run was killed together with its worker they do
not run at all.
"""

import os
from pathlib import PurePath
from typing import Any

from prefect import Flow, get_run_logger, runtime
from prefect.client.schemas.objects import FlowRun, State

from mayfly.endpoints.cleanup import end_lease
from mayfly.endpoints.process_liveness import is_this_process, owner_is_alive
from mayfly.orchestration.cancellation import record_cancel
from mayfly.orchestration.credentials import environment_of
from mayfly.signals import BROKEN_OFF
from mayfly.storage.lease_store import LeaseStore, state_home

HOOK_BUDGET_S = 60.0
"""How long a hook insists: the flow has insisted before it, and the guardian goes on."""


def name_run() -> str:
    """Name a flow run by its model and its dataset."""
    given = runtime.flow_run.parameters
    return f"{given['model'].rsplit('/', 1)[-1]} over {PurePath(given['input']).name}"


def tear_down_after_the_run(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """End what the run's lease still names, unless its process lives and is another one."""
    del flow, state
    record_cancel(flow_run.id)
    if BROKEN_OFF:
        return
    environ: dict[str, str] | None = None
    book = LeaseStore(state_home(os.environ))
    for lease in book.list().open:
        if lease.run != str(flow_run.id):
            continue
        if not is_this_process(lease.owner) and owner_is_alive(lease.owner):
            continue
        environ = environ or environment_of(flow_run.parameters)
        end_lease(lease, line="hook", environ=environ, budget_s=HOOK_BUDGET_S)
        get_run_logger().info("endpoint %s was torn down by the hook", lease.name)
