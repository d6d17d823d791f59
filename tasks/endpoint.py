"""Steps: create, await, stop and delete an endpoint."""

from mayfly.models.durations import span
from mayfly.models.endpoint import Observation
from mayfly.models.offers import Offer
from mayfly.orchestration.artifacts import of_hardware
from mayfly.orchestration.record import run_logger
from mayfly.reporting.progress import Step
from mayfly.runs.run import Run
from mayfly.tasks.step import set_message, step


@step("create endpoint")
def create_endpoint(run: Run, offer: Offer | None, *, calibrating: bool = False) -> str:
    """Create the endpoint under its lease, or start the existing one; return its name."""
    run.progress.enter(Step.CREATING)
    run.monitor.check_may_provision()
    ref = run.provisioner.provision(offer, calibrating=calibrating)
    done = "using" if offer is None else "created"
    run.progress.log(f"{done} {ref.name} on {of_hardware(ref.hardware)}")
    set_message(f"{done} {ref.name} on {of_hardware(ref.hardware)}; bills from READY on")
    return ref.name


@step("await READY")
def await_ready(run: Run) -> str:
    """Wait until the endpoint answers requests; return its last observation."""
    run.progress.enter(Step.WAITING)
    clock, logger = run.environment.clock, run_logger()
    began = clock.monotonic()
    reported: list[str] = []

    def on_observation(observation: Observation) -> None:
        run.inference.warm_up()
        run.progress.update(detail=str(observation))
        run.monitor.check_while_waiting(observation)
        if reported[-1:] != [str(observation)]:
            reported.append(str(observation))
            run.progress.log(str(observation))
            logger.info("%s", observation)

    session = run.provisioner.session
    ready = session.await_ready(on_observation)
    ref, replicas = session.ref, ready.ready_replicas or 1
    set_message(
        f"READY after {span(clock.monotonic() - began)} on "
        f"{of_hardware(ref.hardware, replicas)}, "
        f"${ref.price_usd_per_h * replicas:.2f}/h"
    )
    return str(ready)


@step("stop endpoint", always=True)
def stop_endpoint(run: Run) -> None:
    """Repeat the stop that `Run.stop` has sent, until billing has ended."""
    if run.provisioner.exists:
        session = run.provisioner.session
        run.progress.enter(Step.TEARING_DOWN)
        session.stop()
        set_message(
            f"{session.ref.name} no longer bills; ${run.provisioner.spent_usd():.2f} in all"
        )


@step("delete endpoint", always=True)
def delete_endpoint(run: Run) -> None:
    """Delete, stop or keep the endpoint as requested, and close its lease."""
    if run.provisioner.exists:
        session = run.provisioner.session
        ended = session.finish()
        run.progress.update(
            state=ended.partition(";")[0].partition(" (")[0].upper(), ready_replicas=0
        )
        if session.policy != "delete":
            run.progress.log(f"{session.ref.name}: {ended}")
        set_message(f"{session.ref.name}: {ended}")
