"""Step: choose the hardware, and show the plan before anything is spent."""

from prefect.artifacts import create_table_artifact

from mayfly.orchestration.artifacts import plan_line, plan_rows
from mayfly.orchestration.record import is_recorded, run_logger
from mayfly.planning.hardware import Placement
from mayfly.planning.plan import Plan, make_plan
from mayfly.reporting.progress import Step
from mayfly.runs.run import Run
from mayfly.tasks.step import step, tell


@step("select hardware")
def select_hardware(run: Run) -> Placement | None:
    """Choose the hardware for the job, cheapest with room first; None with an existing endpoint.

    A plan that a person has confirmed is taken as it is.
    """
    run.progress.enter(Step.PLANNING)
    plan = run.plan or make_plan(run.preview, run.plane, run.environment.folders)
    run.agree(plan)
    show_plan(plan)
    tell(plan_line(plan))
    return plan.placement


def show_plan(plan: Plan) -> None:
    """Show the plan as a table in Prefect."""
    if not is_recorded():
        return
    try:
        create_table_artifact(
            plan_rows(plan), key="batch-inference-plan", description=plan_line(plan)
        )
    except Exception as error:  # noqa: BLE001 - Prefect's record is for people
        run_logger().warning("Prefect does not show the plan: %s", error)
