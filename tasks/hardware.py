"""Step: choose the hardware, and show the plan before anything is spent."""

from prefect.artifacts import create_table_artifact

from tasks.core.placement import Placement
from tasks.reporting.progress import Step
from tasks.running import planning
from tasks.running.run import Run
from tasks.step import step, tell
from tasks.story import plan_line, plan_rows


@step("select hardware")
def select_hardware(run: Run) -> Placement | None:
    """Choose the hardware for the job, cheapest with room first; None with an existing endpoint."""
    run.progress.enter(Step.PLANNING)
    plan = planning.make_plan(run.look, run.plane)
    run.planned(plan)
    create_table_artifact(plan_rows(plan), key="batch-inference-plan", description=plan_line(plan))
    tell(plan_line(plan))
    return plan.placement
