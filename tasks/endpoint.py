"""Steps: an endpoint's life, one task each."""

import time

from mayfly.models.durations import span
from mayfly.models.endpoint import Observation
from mayfly.models.offers import Offer
from mayfly.orchestration.artifacts import of_hardware
from mayfly.orchestration.record import run_logger
from mayfly.reporting.progress import Step
from mayfly.runs.run import Run
from mayfly.tasks.step import step, tell


@step("create endpoint")
def create_endpoint(run: Run, offer: Offer | None) -> str:
    """Create the endpoint under its lease, or start the one that the job names; return its name."""
    run.progress.enter(Step.CREATING)
    run.may_rent()
    ref = run.rent(offer)
    done = "using" if offer is None else "created"
    run.progress.say(f"{done} {ref.name} on {of_hardware(ref.hardware)}")
    tell(f"{done} {ref.name} on {of_hardware(ref.hardware)}; bills from READY on")
    return ref.name


@step("await READY")
def await_ready(run: Run) -> str:
    """Wait until the endpoint answers requests; return what was last seen of it."""
    run.progress.enter(Step.WAITING)
    began, logger = time.monotonic(), run_logger()
    said: list[str] = []

    def on_look(observation: Observation) -> None:
        run.warm_up()
        run.progress.update(detail=str(observation))
        run.look_while_waiting(observation)
        if said[-1:] != [str(observation)]:
            said.append(str(observation))
            run.progress.say(str(observation))
            logger.info("%s", observation)

    ready = run.session.await_ready(on_look)
    ref, replicas = run.session.ref, ready.ready_replicas or 1
    tell(
        f"READY after {span(time.monotonic() - began)} on "
        f"{of_hardware(ref.hardware, replicas)}, "
        f"${ref.price_usd_per_h * replicas:.2f}/h"
    )
    return str(ready)


@step("stop endpoint")
def stop_endpoint(run: Run) -> None:
    """Stop what bills, first of all."""
    if run.standing:
        run.progress.enter(Step.TEARING_DOWN)
        run.session.stop()
        tell(f"{run.session.ref.name} no longer bills; ${run.spent_usd():.2f} in all")


@step("delete endpoint")
def delete_endpoint(run: Run) -> None:
    """Delete the endpoint, or leave it as asked, and close its lease."""
    if run.standing:
        ended = run.session.finish()
        run.progress.update(state=ended.partition(";")[0].upper(), ready_replicas=0)
        if run.session.policy != "delete":
            run.progress.say(f"{run.session.ref.name}: {ended}")
        tell(f"{run.session.ref.name}: {ended}")
