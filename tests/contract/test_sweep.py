"""A sweep from a machine that has nothing but the key finds ours, by either generation."""

from pathlib import Path

from mayfly.endpoints.sweep import sweep
from mayfly.models.endpoint import Api, EndpointName
from mayfly.storage.lease_store import LeaseStore
from tests.support.control_plane import connection, world
from together_emulator import Emulator

PAST, FUTURE = 0x10000000, 0x7FFFFFFF


def name(namespace: str, until: int) -> str:
    """Return the name of an endpoint of some job."""
    return str(EndpointName(namespace=namespace, job="0123456789", until=until))


def test_a_sweep_ends_ours_whose_time_has_passed_and_nothing_else(api: Api, tmp_path: Path) -> None:
    left = {name("contract", FUTURE), name("others", PAST), "a-users-own"}
    with Emulator(speed=120, v1_create=True) as emulator, world(api, emulator) as here:
        for each in (name("contract", PAST), *left):
            here.plane.create(here.spec(each))
        emulator.clock.advance(400)
        # Another plane, of another machine: it knows no ids and no leases.
        with world(api, emulator) as elsewhere:
            book, there = LeaseStore(tmp_path), connection(emulator.url)
            would = sweep(elsewhere.plane, book, there, dry_run=True)
            before = elsewhere.made()
            did = sweep(elsewhere.plane, book, there, dry_run=False)
            again = sweep(elsewhere.plane, book, there, dry_run=False)

            assert before == 4
            assert [e["name"] for e in would.found if e["verdict"] == "end"] == [
                name("contract", PAST)
            ]
            assert (did.ended, did.failed) == (1, [])
            assert again.ended == 0
            assert elsewhere.made() == 3
