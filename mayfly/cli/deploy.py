"""The command `deploy`."""

import os
from typing import Annotated

from mayfly.cli.options import OPTIONS, flag
from mayfly.cli.render.output import TerminalScreen


def deploy(
    *,
    pool: Annotated[
        str,
        flag(OPTIONS, "Prefect work pool; created as a process pool if missing. [default: mayfly]"),
    ] = ("mayfly"),
    notify: Annotated[
        str | None, flag(OPTIONS, "Notification block, such as slack-webhook/ops.")
    ] = None,
) -> int:
    """Run `mayfly deploy`."""
    # Otherwise Prefect's client repeats calls to a busy server for two minutes.
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "3")
    # Prefect's import takes seconds.
    from mayfly.orchestration.deployments import deploy as register  # noqa: PLC0415
    from mayfly.orchestration.temporary_server import without_proxy_on_loopback  # noqa: PLC0415

    os.environ.update(without_proxy_on_loopback(os.environ))
    screen = TerminalScreen()
    with screen.waiting("waiting for the Prefect server"):
        register(pool=pool, notify=notify or "", log=screen.log)
    screen.console.print(
        f"start a worker with: prefect worker start --pool {pool}", markup=False, soft_wrap=True
    )
    return 0
