"""Step: choose the hardware."""

from prefect import get_run_logger

from tasks import planning
from tasks.core.placement import Placement
from tasks.progress import Step
from tasks.run import Run
from tasks.step import step


@step("select hardware")
def select_hardware(run: Run) -> Placement | None:
    """Choose the hardware for the job, cheapest with room first; None with an existing endpoint."""
    run.progress.enter(Step.PLANNING)
    plan = planning.make_plan(run.look, run.plane)
    run.planned(plan)
    if plan.placement is None:
        get_run_logger().info("using endpoint %s, which stands", plan.existing)
        return None
    chosen = plan.placement.chosen
    get_run_logger().info("%s at $%.2f/h a replica", chosen.hardware, chosen.price_usd_per_h)
    return plan.placement
