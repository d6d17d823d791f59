"""A Prefect server that responds, but fails calls: a run goes on without it, `deploy` ends."""

import os
from collections.abc import Iterator

import pytest

from tests.support.failing_prefect import EVERYTHING, FailingPrefect, failing_prefect
from tests.support.machine import Launcher, Machine

CREATION = r"^POST /api/flow_runs/ "
CREATION_OF_A_FLOW = r"^POST /api/flows/ "
START = r'set_state .*"RUNNING"'
END = r'set_state .*"COMPLETED"'


def line_with(words: str, text: str) -> str:
    """Return the only line of a text that has these words."""
    found = [line for line in text.splitlines() if words in line]
    assert len(found) == 1, text
    return found[0]


@pytest.fixture(scope="module")
def prefect(prefect_api_url: str) -> Iterator[FailingPrefect]:
    """A Prefect server that fails calls."""
    with failing_prefect(prefect_api_url) as server:
        yield server


@pytest.fixture(scope="module")
def launcher(
    prefect: FailingPrefect, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Launcher]:
    """A fork server whose commands report to that server."""
    launcher = Launcher(
        {
            **os.environ,
            "PREFECT_API_URL": prefect.api_url,
            "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect")),
            "DO_NOT_TRACK": "1",
            # The command line sets these too, but for a Prefect that is imported later; and three
            # retries, which take 14 seconds.
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
            "PREFECT_CLIENT_MAX_RETRIES": "0",
        }
    )
    yield launcher
    launcher.close()


@pytest.mark.parametrize(
    ("fails", "status", "body", "cut", "why"),
    [
        (EVERYTHING, 503, b'{"detail": "starting"}', False, "HTTP 503"),
        (CREATION, 500, b"<html>\n<body>Internal\nServer Error</body></html>", False, "HTTP 500"),
        (CREATION, 429, b"{}", False, "HTTP 429"),
        (CREATION, 201, b'{"id"', True, "RemoteProtocolError"),
        (START, 503, b"{}", False, "HTTP 503"),
        (EVERYTHING, 401, b'{"exception_message": "Unauthorized"}', False, "HTTP 401"),
        (EVERYTHING, 200, b"<html>\nanother server</html>", False, "JSONDecodeError"),
        (CREATION, 200, b'{"id": "no id"}', False, "ValidationError"),
    ],
)
def test_run_that_its_prefect_server_does_not_take_goes_on_without_a_record(
    machine: Machine,
    prefect: FailingPrefect,
    fails: str,
    status: int,
    body: bytes,
    cut: bool,
    why: str,
) -> None:
    prefect.respond(fails, status, body, cut=cut)

    run = machine.run()

    assert run.wait() == 0, run.text
    machine.assert_complete()
    assert not machine.emulator.has_endpoints
    # A slow machine also says that it waits for the server.
    line = line_with("did not take the run", run.text)
    assert f"the Prefect server at {prefect.api_url} did" in line
    assert why in line
    assert line.endswith("the run continues without a record in Prefect")
    assert "Traceback" not in run.text


def test_run_whose_end_prefect_does_not_take_reports_it_in_one_line(
    machine: Machine, prefect: FailingPrefect
) -> None:
    prefect.respond(END, 500, b"<html>\n<body>Internal\nServer Error</body></html>")

    run = machine.run()

    assert run.wait() == 0, run.text
    machine.assert_complete()
    line = line_with("no record", run.text)
    assert line.endswith("Prefect has no record of the run's end: HTTP 500")


def test_run_that_needs_approval_is_refused_without_a_record(
    machine: Machine, prefect: FailingPrefect
) -> None:
    prefect.respond(EVERYTHING, 503)

    run = machine.run("--approve-above", "0")

    assert run.wait() == 2, run.text
    assert "--approve-above" in run.text.splitlines()[-1]
    assert [call for call in machine.management() if call[0] == "POST"] == []


@pytest.mark.parametrize(
    ("fails", "status", "body", "cut", "words"),
    [
        (EVERYTHING, 503, b"<html>\n<b>away</b></html>", False, "HTTP 503 <html> <b>away"),
        (CREATION_OF_A_FLOW, 500, b"{}", False, "is not available (HTTP 500"),
        (CREATION_OF_A_FLOW, 422, b'{"detail": "no"}', False, "rejected the request: HTTP 422"),
        (CREATION_OF_A_FLOW, 201, b'{"id"', True, "does not respond (RemoteProtocolError"),
        (EVERYTHING, 200, b"<html>\nanother</html>", False, "as a Prefect server (JSONDecodeError"),
    ],
)
def test_deploy_to_a_failing_prefect_server_ends_with_one_line(
    machine: Machine,
    prefect: FailingPrefect,
    fails: str,
    status: int,
    body: bytes,
    cut: bool,
    words: str,
) -> None:
    prefect.respond(fails, status, body, cut=cut)

    deploy = machine.command("deploy", "--pool", "failing")

    assert deploy.wait() == 1, deploy.text
    line = deploy.text.splitlines()[-1]
    assert line.startswith("mayfly: the ")
    assert prefect.api_url in line
    assert words in line
    assert "Traceback" not in deploy.text


def test_run_does_not_wait_for_a_server_whose_health_check_fails(
    machine: Machine, prefect: FailingPrefect
) -> None:
    prefect.respond("/api/health", 503)

    run = machine.run()

    assert run.wait() == 0, run.text
    line = line_with("does not respond", run.text)
    assert f"{prefect.api_url} does not respond (HTTP 503)" in line
