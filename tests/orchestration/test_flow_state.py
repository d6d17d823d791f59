"""Which flow-run states end a run."""

import pytest
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Cancelling, Completed, Paused, Running, Suspended

from mayfly.orchestration.flow_state import APPROVAL_KEY, must_end


@pytest.mark.parametrize("of_worker", [True, False])
@pytest.mark.parametrize(
    ("state", "left"),
    [
        (Running(), False),
        (Completed(), False),
        (Paused(), True),
        (Suspended(), True),
        (Paused(pause_key=APPROVAL_KEY), False),
        (Suspended(pause_key=f"{APPROVAL_KEY}-12.50"), False),
    ],
)
def test_paused_run_is_ended_unless_it_waits_for_approval(
    state: State, left: bool, of_worker: bool
) -> None:
    assert must_end(state, of_worker=of_worker) is left


@pytest.mark.parametrize("state", [Cancelling(), Cancelled()])
def test_cancel_of_a_worker_run_is_left_to_its_worker(state: State) -> None:
    assert must_end(state, of_worker=False)
    assert not must_end(state, of_worker=True)
