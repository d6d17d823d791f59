"""Step: manage an endpoint from a form."""

from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_table_artifact

from mayfly.endpoints.admin import Action, EndpointAdmin, bounds, teardown_info
from mayfly.models.endpoint import Api
from mayfly.models.errors import BadRequest
from mayfly.runs.environment import Environment
from mayfly.tasks.step import set_message, step
from mayfly.together.factory import connect


@step("manage endpoints")
def manage(
    environment: Environment, *, action: Action, name: str, replicas: str, force: bool, api: Api
) -> list[dict[str, Any]]:
    """Carry out one action; return a description of the endpoints concerned."""
    if action != "list" and not name:
        raise BadRequest(f"{action} needs the name of an endpoint; list shows all names")
    connection = environment.connection
    with connect(api, connection) as plane:
        admin = EndpointAdmin(plane, environment.leases, connection, log=get_run_logger().info)
        found = _done(admin, action, name=name, replicas=replicas, force=force)
    try:
        create_table_artifact(found, key="endpoints", description=f"After: {action} {name}".strip())
    except Exception as error:  # noqa: BLE001 - the action is done; the table is for people
        get_run_logger().warning("Prefect does not show the endpoints: %s", error)
    set_message(
        f"{len(found)} endpoint(s)" if action == "list" else f"{action}: {found[0]['name']}"
    )
    return found


def _done(
    admin: EndpointAdmin, action: Action, *, name: str, replicas: str, force: bool
) -> list[dict[str, Any]]:
    match action:
        case "list":
            return admin.list_all()
        case "show":
            return [admin.show(name)]
        case "start":
            return [admin.start(name, bounds(replicas))]
        case "scale":
            return [admin.scale(name, bounds(replicas))]
        case "stop" | "delete":
            ref = admin.find(name)
            if not force and (objection := admin.objection(ref, action)) is not None:
                raise BadRequest(
                    f"endpoint {ref.name}: {objection}; switch on `force` to {action} it"
                )
            return [teardown_info(admin.stop(ref) if action == "stop" else admin.delete(ref))]
