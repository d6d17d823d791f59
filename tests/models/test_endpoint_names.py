"""Endpoint names encode namespace, job and expiry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.models.endpoint import EndpointName, EndpointRef, Replicas, job_digest

names = st.builds(
    EndpointName,
    namespace=st.from_regex(r"\A[a-z0-9]{1,16}\Z"),
    job=st.from_regex(r"\A[0-9a-f]{10}\Z"),
    until=st.integers(0, 2**32 - 1),
)


@given(name=names, slug=st.sampled_from(["", "acme/"]))
def test_endpoint_name_round_trips(name: EndpointName, slug: str) -> None:
    assert EndpointName.parse(f"{slug}{name}") == name


@pytest.mark.parametrize(
    "foreign",
    [
        "mayfly",
        "mayfly-prod",
        "my-endpoint",
        "mayfly-x-12345-abc",
        "x-mayfly-a-0123456789-00000000",
    ],
)
def test_foreign_name_is_never_parsed_as_ours(foreign: str) -> None:
    assert EndpointName.parse(foreign) is None


@given(parts=st.lists(st.text(), min_size=1, max_size=3))
def test_job_id_is_10_hex_digits(parts: list[str]) -> None:
    digest = job_digest(*parts)

    assert len(digest) == 10
    assert int(digest, 16) >= 0


def test_reference_round_trips_through_json() -> None:
    ref = EndpointRef(api="v2", name="n", deployment_ids=("dep_1", "dep_2"), price_usd_per_h=5.49)

    assert EndpointRef.from_dict(ref.as_dict()) == ref


@pytest.mark.parametrize(("low", "high"), [(2, 1), (-1, 1), (0, 3)])
def test_invalid_replica_bounds_are_refused(low: int, high: int) -> None:
    with pytest.raises(ValueError, match="give MIN-MAX"):
        Replicas(minimum=low, maximum=high)
