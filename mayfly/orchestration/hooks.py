"""Functions that Prefect calls for the flow: the flow run's name, and its hooks.

The hooks are a second safeguard. They run in the flow's process after its `finally`, or in the
worker's process when the flow's has died. When both were killed, they do not run.
"""

import os
from pathlib import PurePath
from typing import Any

from prefect import Flow, get_run_logger, runtime
from prefect.client.schemas.objects import FlowRun, State

from mayfly.endpoints.cleanup import end_lease
from mayfly.endpoints.process_liveness import is_this_process, owner_is_alive
from mayfly.models.timeouts import Timeouts
from mayfly.orchestration.credentials import environment_of
from mayfly.orchestration.flow_state import record_cancel
from mayfly.orchestration.run_handles import handle_of
from mayfly.storage.lease_store import LeaseStore, state_home


def name_run() -> str:
    """Return the name of a flow run: its model and its dataset."""
    given = runtime.flow_run.parameters
    model, data = (str(given.get(name, "?")) for name in ("model", "input"))
    return f"{model.rsplit('/', 1)[-1]} over {PurePath(data).name}"


def tear_down_after_the_run(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Tear down the endpoints of the run's open leases, unless another live process owns them."""
    del state
    handle = handle_of(flow)
    if handle is not None and handle.cancelled:
        record_cancel(flow_run.id)
    if handle is not None and handle.teardown_aborted:
        return
    # The run's own environment, if it ran in this process.
    environment = None if handle is None else handle.environment
    environ: dict[str, str] | None = None
    folders = os.environ if environment is None else environment.folders
    timeouts = Timeouts.from_env(os.environ) if environment is None else environment.timeouts
    for lease in LeaseStore(state_home(folders)).list().open:
        if lease.run != str(flow_run.id):
            continue
        if not is_this_process(lease.owner) and owner_is_alive(lease.owner):
            continue
        if environ is None:
            environ = (
                environment_of(flow_run.parameters)
                if environment is None
                else {**environment.folders, **environment.connection.environment()}
            )
        end_lease(lease, line="hook", environ=environ, budget_s=timeouts.hook_s)
        get_run_logger().info("endpoint %s was torn down by the hook", lease.name)
