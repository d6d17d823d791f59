"""The Prefect deployments of mayfly: batch inference, sweep, and endpoint management.

`mayfly deploy` registers them, from a checkout or an installed wheel; `prefect.yaml` defines the
same for `prefect deploy`, and a test compares the two. A worker imports the flows from its own
installation of mayfly, so no deployment names a folder.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, cast

import httpx
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import (
    DeploymentScheduleCreate,
    DeploymentUpdate,
    WorkPoolCreate,
)
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectException
from prefect.settings import PREFECT_API_URL
from prefect.utilities.callables import parameter_schema
from pydantic import ValidationError

from mayfly.models.errors import BadRequest, TerminalError
from mayfly.orchestration.credentials import TogetherCredentials
from mayfly.orchestration.notifications import notify_through
from mayfly.orchestration.record import reason_of, root_cause

PROCESS_POOL_VARIABLES = {"working_dir": "."}
"""Relative paths of a run on a process pool start in the worker's working directory.

Prefect's default is a temporary folder, which is removed with everything that a run wrote there.
"""

PULL_STEPS = [{"prefect.deployments.steps.set_working_directory": {"directory": "."}}]
"""Stay in the working directory: without a pull step Prefect copies that folder, with its data."""

CONFLICT_PAUSES_S = (0.2, 0.5, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One Prefect deployment, named as its flow.

    Attributes:
        module: Module of the flow; the function has the name of the last part.
        cron: Schedule (UTC), or "" for none.
        active: Whether the schedule is initially active.
        schedule_parameters: Parameters of scheduled runs, in addition to the deployment's.
        concurrency_limit: Largest number of concurrent runs; others wait.
    """

    module: str
    description: str
    cron: str = ""
    slug: str = ""
    active: bool = False
    schedule_parameters: dict[str, Any] = field(default_factory=dict)
    concurrency_limit: int | None = None

    @property
    def name(self) -> str:
        """The name of flow and deployment."""
        return self.module.rsplit(".", 1)[-1].replace("_", "-")

    @property
    def entrypoint(self) -> str:
        """The import path of the flow function."""
        return f"{self.module}.{self.module.rsplit('.', 1)[-1]}"

    @property
    def schedules(self) -> list[DeploymentScheduleCreate]:
        """The schedule in Prefect's form."""
        if not self.cron:
            return []
        return [
            DeploymentScheduleCreate(
                schedule=CronSchedule(cron=self.cron, timezone="UTC"),
                active=self.active,
                slug=self.slug,
                parameters=self.schedule_parameters,
            )
        ]

    def flow(self) -> Flow[..., Any]:
        """Import the flow."""
        flow = getattr(import_module(self.module), self.module.rsplit(".", 1)[-1])
        return cast("Flow[..., Any]", flow)


DEPLOYMENTS = (
    Deployment(
        module="mayfly.flows.batch_inference",
        description="Run a dataset through a model on an endpoint that lives as long as the batch.",
        cron="0 2 * * *",
        slug="nightly",
        schedule_parameters={"rows": {"incremental": True}},
        concurrency_limit=1,
    ),
    Deployment(
        module="mayfly.flows.sweep_endpoints",
        description="Deletes orphaned endpoints of earlier runs.",
        cron="*/10 * * * *",
        slug="sweep",
        active=True,
    ),
    Deployment(
        module="mayfly.flows.manage_endpoints",
        description="List, show, start, stop, scale or delete endpoints.",
    ),
)


def deploy(*, pool: str, notify: str = "", log: Callable[[str], None]) -> None:
    """Register block type, work pool and deployments; repeat it after an update.

    Args:
        pool: Name of the work pool; a process pool is created if it does not exist.
        notify: A notification block as `type/name`, or "".

    Raises:
        BadRequest: No Prefect server is configured, the pool's name is not valid, or the block does
            not exist.
        TerminalError: The server does not respond, or rejects the request.
    """
    url = PREFECT_API_URL.value()
    if not url:
        raise BadRequest(
            "no Prefect server is configured; start one with `prefect server start`, then "
            "export PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    try:
        with get_client(sync_client=True) as client:
            past_conflicts(TogetherCredentials.register_type_and_schema)
            log("block type Together Credentials")
            kind = _ensure_pool(client, pool)
            log(f"work pool {pool} ({kind})")
            for deployment in DEPLOYMENTS:
                past_conflicts(partial(_register, client, deployment, pool, kind))
                log(f"deployment {deployment.name}/{deployment.name}")
        if notify:
            notify_through(notify, log=log)
    except (httpx.HTTPError, PrefectException, RuntimeError, ValueError) as error:
        raise TerminalError(failure_of(error, url)) from error


def failure_of(error: BaseException, url: str) -> str:
    """Return in one line why a Prefect server could not be used, and what to do.

    Args:
        error: The error of a call to its API.
        url: URL of its API.
    """
    cause, reason = root_cause(error), reason_of(error)
    if isinstance(cause, httpx.HTTPStatusError):
        status, text = cause.response.status_code, " ".join(cause.response.text.split())[:200]
        if status >= 500 or status in (408, 429):
            return (
                f"the Prefect server at {url} is not available ({reason} {text}); check it, and "
                "run the command again"
            )
        if status == 404 and "/api" not in url:
            return (
                f"the server at {url} has no Prefect API at this URL ({reason}); check "
                "PREFECT_API_URL, which ends in /api"
            )
        return f"the Prefect server at {url} rejected the request: {reason} {text}".rstrip()
    if isinstance(cause, ValueError):
        return (
            f"the server at {url} does not respond as a Prefect server ({reason}); check "
            "PREFECT_API_URL, which ends in /api"
        )
    return (
        f"the Prefect server at {url} does not respond ({reason}); start it with `prefect server "
        "start`, or set PREFECT_API_URL to another"
    )


def past_conflicts(
    call: Callable[[], object], *, sleep: Callable[[float], object] = time.sleep
) -> None:
    """Repeat a call that finds or creates, where another deploy creates the same meanwhile."""
    for pause_s in CONFLICT_PAUSES_S:
        try:
            call()
        except (httpx.HTTPError, PrefectException, RuntimeError) as error:
            cause = root_cause(error)
            if not isinstance(cause, httpx.HTTPStatusError) or cause.response.status_code != 409:
                raise
            sleep(pause_s)
        else:
            return
    call()


def _ensure_pool(client: SyncPrefectClient, pool: str) -> str:
    """Create the work pool if it does not exist; return its type."""
    try:
        return client.read_work_pool(pool).type
    except ObjectNotFound:
        from prefect.workers.process import ProcessWorker  # noqa: PLC0415 - takes a second

        template = ProcessWorker.get_default_base_job_template()
        try:
            wanted = WorkPoolCreate(name=pool, type="process", base_job_template=template)
        except ValidationError as error:
            why = str(error.errors()[0]["msg"])
            raise BadRequest(f"--pool {pool}: Prefect accepts no such name ({why})") from error
        try:
            return client.create_work_pool(wanted).type
        except ObjectAlreadyExists:
            # Somebody else deploys at the same time.
            return client.read_work_pool(pool).type


def _register(client: SyncPrefectClient, deployment: Deployment, pool: str, kind: str) -> None:
    flow, name = deployment.flow(), deployment.name
    ours: dict[str, Any] = {
        "entrypoint": deployment.entrypoint,
        "description": deployment.description,
        "tags": ["mayfly"],
        "work_pool_name": pool,
        "pull_steps": PULL_STEPS,
        "job_variables": PROCESS_POOL_VARIABLES if kind == "process" else {},
        "parameter_openapi_schema": parameter_schema(flow).model_dump_for_openapi(),
        "enforce_parameter_schema": True,
    }
    try:
        found = client.read_deployment_by_name(f"{name}/{name}")
    except ObjectNotFound:
        limit = deployment.concurrency_limit
        strategy = ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)
        client.create_deployment(
            flow_id=client.create_flow(flow),
            name=name,
            schedules=deployment.schedules,
            concurrency_limit=limit,
            concurrency_options=None if limit is None else strategy,
            **ours,
        )
    else:
        # Keep schedules, parameters and the limit, which can be changed in the UI.
        client.update_deployment(found.id, DeploymentUpdate(**ours))
