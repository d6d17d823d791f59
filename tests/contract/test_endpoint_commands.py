"""`mayfly endpoints` for either generation of the API."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mayfly.models.endpoint import Api, EndpointRef
from mayfly.models.lease import Lease, Owner
from mayfly.storage.lease_store import LeaseStore
from tests.support.command_line import CommandLine
from tests.support.control_plane import NAME, EmulatedService, emulated_service
from tests.support.leases import lease_on
from together_emulator import Emulator, FaultRule

USERS = "my-own-endpoint"


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A server whose clock runs: commands wait in real time, but nothing idles for half an hour."""
    with Emulator(speed=60, v1_create=True) as server:
        yield server


class Terminal(CommandLine):
    """Runs `mayfly endpoints`, beside the leases of its machine."""

    words = ("endpoints",)

    def __init__(self, api: Api, capsys: pytest.CaptureFixture[str], home: Path) -> None:
        super().__init__(api, capsys)
        self.store = LeaseStore(home)


@pytest.fixture
def terminal(
    service: EmulatedService,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Terminal:
    """The command line of a user of the emulator."""
    for name, value in {
        "TOGETHER_BASE_URL": service.url,
        "TOGETHER_API_KEY": service.emulator.key,
        "MAYFLY_NAMESPACE": "contract",
        "MAYFLY_HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TOGETHER_PROJECT_ID", raising=False)
    return Terminal(service.api, capsys, tmp_path)


def ready(service: EmulatedService, ref: EndpointRef) -> None:
    """Let a cold start pass."""
    service.emulator.clock.advance(400)
    assert service.plane.observe(ref).phase == "ready"


def lease(service: EmulatedService, ref: EndpointRef, *, alive: bool) -> Lease:
    """Return a lease on an endpoint, of this process or of one that has died."""
    started = psutil.Process().create_time()
    owner = Owner(
        host=socket.gethostname(), pid=os.getpid(),
        started_at=started if alive else started - 9999, user="me",
    )  # fmt: skip
    return lease_on(service, ref, owner=owner, at=time.time())


def test_list_of_empty_project_says_no_endpoints(terminal: Terminal) -> None:
    assert terminal.run("list") == (0, "no endpoints in this project\n")
    assert terminal.json("list") == []


def test_list_shows_own_endpoints_first_with_phase_hardware_and_price(
    service: EmulatedService, terminal: Terminal
) -> None:
    service.plane.create(service.spec(f"a-{USERS}"))
    ready(service, service.plane.create(service.spec()))

    listed = terminal.json("list")
    _, table = terminal.run("list")

    assert [entry["ours"] for entry in listed] == [True, False]
    assert listed[0]["name"] == NAME
    assert listed[0]["phase"] == "ready"
    assert listed[0]["usd_per_h"] == service.offer().price_usd_per_h
    assert NAME in table
    assert service.offer().hardware in table


def test_show_prints_the_model_name_for_requests(
    service: EmulatedService, terminal: Terminal
) -> None:
    ref = service.plane.create(service.spec())

    entry = terminal.json("show", NAME)
    code, table = terminal.run("show", ref.endpoint_id)

    assert entry["model_in_requests"] == ref.inference_name
    assert entry["id"] == ref.endpoint_id
    assert code == 0
    assert ref.inference_name in table


def test_stop_start_and_scale_change_the_endpoint(
    service: EmulatedService, terminal: Terminal
) -> None:
    ready(service, service.plane.create(service.spec()))

    stopped = terminal.json("stop", NAME)
    bills = service.emulator.billing
    started = terminal.json("start", NAME)
    service.emulator.clock.advance(400)
    scaled = terminal.json("scale", NAME, "2")
    service.emulator.clock.advance(400)

    assert stopped["stopped_at"] is not None
    assert stopped["gone_at"] is None
    assert bills == 0
    assert started["phase"] == "starting"
    assert scaled["name"] == NAME
    assert service.emulator.billing == 2


def test_start_of_running_endpoint_changes_nothing(
    service: EmulatedService, terminal: Terminal
) -> None:
    spec = service.spec()
    ref = service.plane.create(spec)
    terminal.run("scale", NAME, "2")
    ready(service, ref)

    code, printed = terminal.run("start", NAME)

    assert code == 0
    assert "is already running" in printed
    assert service.emulator.billing == 2


def test_delete_confirms_404_and_closes_the_lease(
    service: EmulatedService, terminal: Terminal
) -> None:
    ref = service.plane.create(service.spec())
    terminal.store.open(lease(service, ref, alive=False))

    gone = terminal.json("delete", NAME)

    assert gone["not_found_read_back"] is True
    assert service.made() == 0
    assert terminal.store.list().open == ()


def test_delete_prints_each_step(service: EmulatedService, terminal: Terminal) -> None:
    ready(service, service.plane.create(service.spec()))

    code, printed = terminal.run("delete", NAME)

    assert code == 0
    assert f"stopping {NAME}" in printed
    assert f"{NAME} was deleted (confirmed: 404)" in printed


def test_foreign_endpoint_is_deleted_only_with_its_option(
    service: EmulatedService, terminal: Terminal
) -> None:
    made = service.plane.create(service.spec(USERS))

    refused, why = terminal.run("delete", made.endpoint_id)
    still = service.made()
    code, _ = terminal.run("delete", made.endpoint_id, "--yes")

    assert refused == 2
    assert "mayfly did not create it; add --yes" in why
    assert still == 1
    assert code == 0
    assert service.made() == 0


def test_endpoint_of_another_namespace_is_foreign(
    service: EmulatedService, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.plane.create(service.spec())
    monkeypatch.setenv("MAYFLY_NAMESPACE", "others")

    code, why = terminal.run("delete", NAME)

    assert code == 2
    assert "it belongs to namespace contract" in why
    assert service.made() == 1


@pytest.mark.parametrize("action", ["stop", "delete"])
def test_endpoint_of_live_run_is_ended_only_with_its_option(
    service: EmulatedService, terminal: Terminal, action: str
) -> None:
    ref = service.plane.create(service.spec())
    terminal.store.open(lease(service, ref, alive=True))

    code, why = terminal.run(action, NAME)

    assert code == 2
    assert f"a run is using it (process {os.getpid()} on " in why
    assert service.plane.observe(ref).phase.may_bill


def test_unknown_endpoint_name_is_exit_2(terminal: Terminal) -> None:
    for action in ("show", "start", "stop", "delete"):
        code, why = terminal.run(action, "nobody")
        assert code == 2
        assert "endpoint nobody does not exist" in why


@pytest.mark.parametrize("replicas", ["two", "3-1", "-1", "0-2", "1-", ""])
def test_invalid_replicas_are_refused_without_a_call(
    service: EmulatedService, terminal: Terminal, replicas: str
) -> None:
    before = len(service.emulator.calls())

    code, why = terminal.run("scale", NAME, replicas)

    assert code == 2
    assert "replicas" in why.lower()
    assert len(service.emulator.calls()) == before


def test_refused_key_is_one_line_and_exit_2(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "of-somebody-else")

    code, why = terminal.run("list")

    assert code == 2
    assert "Together rejected the API key (HTTP 401: " in why
    assert "check TOGETHER_API_KEY" in why
    assert why.count("\n") == 1


def test_invisible_project_is_exit_2(
    service: EmulatedService, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOGETHER_PROJECT_ID", "proj_of_others")

    code, printed = terminal.run("list")

    if service.api == "v1":  # which knows no projects
        assert code == 0
    else:
        assert code == 2
        assert "TOGETHER_PROJECT_ID proj_of_others" in printed


def test_list_without_prices_still_shows_endpoints(
    service: EmulatedService, terminal: Terminal
) -> None:
    service.plane.create(service.spec())
    service.emulator.use_faults(
        FaultRule(action="status", path="instance-types|hardware", status=500)
    )

    assert [entry["usd_per_h"] for entry in terminal.json("list")] == [None]


def test_v1_start_that_is_closed_names_the_alternative(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Emulator(speed=60, v1_create=True) as server, emulated_service("v1", server) as service:
        monkeypatch.setenv("TOGETHER_BASE_URL", server.url)
        monkeypatch.setenv("TOGETHER_API_KEY", server.key)
        monkeypatch.setenv("MAYFLY_HOME", str(tmp_path))
        terminal = Terminal("v1", capsys, tmp_path)
        ready(service, service.plane.create(service.spec()))
        terminal.run("stop", NAME)
        object.__setattr__(server.settings, "v1_create", False)  # as it is since v2

        code, why = terminal.run("start", NAME)

    assert code == 2
    assert "use --api v2" in why
