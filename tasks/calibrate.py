"""Step: calibrate the best hardware with some of the rows, and choose one for the rest."""

from mayfly.models.errors import EndpointLost, HardwareUnavailable
from mayfly.models.offers import Offer
from mayfly.planning.hardware import Placement
from mayfly.planning.measurements import Measurement
from mayfly.planning.plan import make_plan
from mayfly.planning.pricing import dollars
from mayfly.reporting.progress import Step
from mayfly.runs.accounting import measurement
from mayfly.runs.calibration import measure_rows
from mayfly.runs.run import Run
from mayfly.tasks.endpoint import await_ready, create_endpoint, delete_endpoint, stop_endpoint
from mayfly.tasks.shards import settle_shards
from mayfly.tasks.step import set_message, step

CANDIDATES = 3
"""Number of hardware candidates to calibrate, best first."""


def calibrate(run: Run, placement: Placement | None) -> Placement | None:
    """Calibrate hardware with the job's own rows, if requested; return the new placement.

    One endpoint at a time, each with one replica and deleted before the next. Hardware that was
    not available is not tried again.

    Raises:
        RunStopped: One of the user's limits was reached.
    """
    rows = run.job.rental.calibrate_rows
    if rows is None or placement is None or len(placement.eligible) < 2:
        return placement
    measurements: list[Measurement] = []
    missing: list[Offer] = []
    for offer in placement.eligible[:CANDIDATES]:
        run.progress.log(f"calibrating {offer.hardware}")
        try:
            create_endpoint(run, offer, calibrating=True)
            await_ready(run)
            run_calibration(run, rows)
        except (HardwareUnavailable, EndpointLost) as error:
            run.move_on(error)
            missing.append(offer)
        finally:
            with run.signals_deferred():
                run.stop()
                stop_endpoint(run)
                delete_endpoint(run)
        settle_shards(run)
        session, provider = run.provisioner.session, run.environment.connection.provider
        if session.trial is not None:
            measurements.append(measurement(session, run.plan, provider=provider))
    return replan(run, measurements, missing)


@step("calibrate")
def run_calibration(run: Run, rows: int) -> None:
    """Answer some rows and measure how long they take."""
    run.progress.enter(Step.INFERRING)
    trial = measure_rows(run, rows)
    session = run.provisioner.session
    hardware = session.ref.hardware
    if trial is None:
        text = f"{hardware}: too few rows left to calibrate"
    else:
        per_million = session.meter.price_usd_per_h / 3600 / trial.work_per_s * 1e6
        text = (
            f"{hardware}: {trial.work_per_s:,.0f} tokens/s with {trial.slots:.0f} in flight, "
            f"{dollars(per_million)} per million tokens, from {trial.rows} rows"
        )
    run.progress.log(text)
    set_message(text)


@step("choose hardware")
def replan(run: Run, measurements: list[Measurement], missing: list[Offer]) -> Placement | None:
    """Plan the remaining rows again, with the measurements."""
    run.progress.enter(Step.PLANNING)
    plan = make_plan(
        run.preview,
        run.plane,
        run.environment.folders,
        learned=measurements,
        without=missing,
        spent_s=run.monitor.age_s,
    )
    run.use_plan(plan)
    if (quote := plan.chosen) is not None and plan.placement is not None:
        why = plan.placement.candidates[0].why
        run.progress.log(f"continuing with {quote.offer.hardware}: {why}")
        set_message(f"{quote.offer.hardware}: {why}")
    return plan.placement
