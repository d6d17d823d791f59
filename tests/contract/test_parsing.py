"""Any response of the API is parsed or is an error; it never breaks the parser."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.models.endpoint import Phase
from mayfly.models.errors import OutcomeUnknown
from mayfly.together.models_v2 import read_deployment, read_endpoint
from mayfly.together.parsing import count, field, items, must_be_json, needed, number, text

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
NAMES = (
    "id", "name", "status", "state", "message", "traffic_split", "deployments", "ready_replicas",
    "desired_replicas", "hardware", "max_concurrent_requests_per_replica", "deployment_id",
    "weight",
)  # fmt: skip
answers = st.dictionaries(
    st.sampled_from(NAMES),
    json_values
    | st.lists(st.dictionaries(st.sampled_from(NAMES), json_values, max_size=3), max_size=3),
)


@given(answer=answers | json_values)
def test_body_is_parsed_or_is_an_error(answer: Any) -> None:
    for read in (read_endpoint, read_deployment):
        try:
            found = read("look", answer)
        except OutcomeUnknown:
            continue
        assert found.id


@given(answer=json_values, name=st.text(max_size=5))
def test_missing_field_is_none(answer: Any, name: str) -> None:
    if not isinstance(answer, dict) or name not in answer:
        assert field(answer, name) in (None, getattr(answer, name, None))
        assert items(None, name) == []


@given(value=st.integers(-(2**62), 2**62))
def test_count_is_the_same_as_number_and_string(value: int) -> None:
    assert count({"n": value}, "n") == pytest.approx(value)
    assert count({"n": str(value)}, "n") == count({"n": value}, "n")


@pytest.mark.parametrize("value", [None, "", "many", True, [], {}, "nan", "inf", 10**400])
def test_value_that_is_no_number_is_none(value: Any) -> None:
    assert number({"n": value}, "n") is None


@given(state=st.text())
def test_unknown_state_may_bill(state: str) -> None:
    known = ("PROVISIONING", "SCALING", "READY", "DEGRADED", "STOPPING", "STOPPED", "FAILED")
    deployment = read_deployment("look", {"id": "dep_1", "status": {"state": state}})

    if state.removeprefix("DEPLOYMENT_STATE_") not in known:
        assert deployment.phase is Phase.UNKNOWN
        assert deployment.phase.may_bill


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("PROVISIONING", Phase.STARTING),
        ("SCALING", Phase.STARTING),
        ("READY", Phase.READY),
        ("DEGRADED", Phase.DEGRADED),
        ("STOPPING", Phase.STOPPING),
        ("STOPPED", Phase.STOPPED),
        ("FAILED", Phase.FAILED),
    ],
)
def test_state_is_a_phase_with_and_without_prefix(state: str, phase: Phase) -> None:
    for word in (state, f"DEPLOYMENT_STATE_{state}"):
        assert read_deployment("look", {"id": "d", "status": {"state": word}}).phase is phase


@pytest.mark.parametrize(
    ("state", "message", "short"),
    [
        ("DEGRADED", "Cannot place replicas: insufficient GPU capacity", True),
        ("DEGRADED", "Startup stalled: image pull", False),
        ("DEGRADED", "Not ready: 1 of 2 replicas ready", False),
        ("READY", "insufficient GPU capacity", False),
    ],
)
def test_capacity_error_is_distinguished_from_others(state: str, message: str, short: bool) -> None:
    seen = read_deployment("look", {"id": "d", "status": {"state": state, "message": message}})

    assert seen.no_capacity is short


def test_concurrency_of_zero_means_unlimited() -> None:
    key = "max_concurrent_requests_per_replica"

    assert read_deployment("look", {"id": "d", key: "0"}).concurrency is None
    assert read_deployment("look", {"id": "d", key: "255"}).concurrency == 255


def test_html_page_is_an_error_and_empty_body_of_delete_is_success() -> None:
    with pytest.raises(OutcomeUnknown):
        must_be_json("do it", "<html>")
    with pytest.raises(OutcomeUnknown, match="the response has no id"):
        needed("do it", {}, "id")
    assert must_be_json("do it", "") == ""
    assert must_be_json("do it", None) is None
    assert text({"name": None}, "name") == ""
