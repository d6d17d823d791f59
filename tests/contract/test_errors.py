"""Errors of the API are classified by what can be done about them."""

from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.models.endpoint import Api, EndpointRef, Phase
from mayfly.models.errors import (
    BadRequest,
    CredentialsRefused,
    HardwareUnavailable,
    MayflyError,
    OutcomeUnknown,
    RetryableError,
    TerminalError,
)
from mayfly.together.errors import Refused, translated
from mayfly.together.factory import connect
from tests.support.control_plane import NAME, SMALL, EmulatedService, connection, emulated_service
from tests.support.habit_server import Exchange, Habit, HabitServer
from together_emulator import Emulator, FaultRule, ManualClock
from together_emulator.state.faults import Action

CREATE = "/endpoints$"


def refuse(service: EmulatedService, status: int, **rule: Any) -> None:
    """Let every write fail with a status."""
    service.emulator.use_faults(
        FaultRule(action="status", method="POST", path=CREATE, status=status, **rule)
    )


@pytest.mark.parametrize("status", [401, 402, 403])
def test_forbidden_create_is_not_repeated(service: EmulatedService, status: int) -> None:
    spec = service.spec()
    refuse(service, status, message="not with this key")

    with pytest.raises(CredentialsRefused, match=f"HTTP {status}: not with this key"):
        service.plane.create(spec)

    assert service.made() == 0


@pytest.mark.parametrize("status", [400, 413, 422])
def test_refusal_quotes_the_message_of_the_api(service: EmulatedService, status: int) -> None:
    spec = service.spec()
    refuse(service, status, message="the name is too long", code="bad_name")

    with pytest.raises((Refused, HardwareUnavailable), match="the name is too long"):
        service.plane.create(spec)


def test_refused_hardware_is_an_error_of_that_hardware(service: EmulatedService) -> None:
    spec = service.spec()
    post = "/deployments$" if service.api == "v2" else "/v1/endpoints$"
    service.emulator.use_faults(
        FaultRule(action="status", method="POST", path=post, status=400, message="not this GPU")
    )

    with pytest.raises(HardwareUnavailable, match=f"{spec.hardware} rejected: not this GPU"):
        service.plane.create(spec)


def test_get_of_deleted_endpoint_is_none_and_no_error(service: EmulatedService) -> None:
    ref = EndpointRef(api=service.api, name=NAME, endpoint_id="ep_gone")

    assert service.plane.observe(ref).phase is Phase.GONE


ANSWERS: tuple[Action, ...] = ("reset_before", "truncate", "malformed", "not_json")


@pytest.mark.parametrize("action", ANSWERS)
def test_failed_poll_is_transient(service: EmulatedService, action: Action) -> None:
    ref = service.plane.create(service.spec())
    service.emulator.use_faults(FaultRule(action=action, method="GET"))

    with pytest.raises(OutcomeUnknown):
        service.plane.observe(ref)

    service.emulator.use_faults()
    assert service.plane.observe(ref).phase is Phase.STARTING


READS_FAIL = {
    "500": FaultRule(action="status", method="GET", status=500, nth=(1, 2)),
    "503": FaultRule(action="status", method="GET", status=503, nth=(1, 2)),
    "a reset": FaultRule(action="reset_before", method="GET", nth=(1, 2)),
}


@pytest.mark.parametrize("trouble", READS_FAIL)
def test_read_that_fails_at_once_is_repeated(service: EmulatedService, trouble: str) -> None:
    ref = service.plane.create(service.spec())
    service.emulator.use_faults(READS_FAIL[trouble])

    assert service.plane.observe(ref).phase is Phase.STARTING


@pytest.mark.parametrize("status", [429, 503])
def test_read_that_is_asked_to_wait_is_not_repeated_at_once(
    service: EmulatedService, status: int
) -> None:
    ref = service.plane.create(service.spec())
    headers = {"retry-after": "7"}
    service.emulator.use_faults(
        FaultRule(action="status", method="GET", status=status, headers=headers, nth=(1,))
    )

    with pytest.raises(RetryableError):
        service.plane.observe(ref)


@pytest.mark.parametrize("action", ["reset_before", "reset_after"])
def test_call_that_changes_something_is_sent_once(service: EmulatedService, action: Action) -> None:
    service.emulator.use_faults(FaultRule(action=action, method="POST"))

    with pytest.raises(OutcomeUnknown):
        service.plane.create(service.spec())

    assert sum(call.method == "POST" for call in service.emulator.calls()) == 1


@pytest.mark.parametrize("action", ANSWERS)
def test_failed_list_is_an_error_and_never_empty(service: EmulatedService, action: Action) -> None:
    service.plane.create(service.spec())
    service.emulator.use_faults(FaultRule(action=action, method="GET"))

    for poll in (
        lambda: service.plane.list_endpoints("mayfly-"),
        lambda: service.plane.find(NAME),
        lambda: service.plane.observe(EndpointRef(api=service.api, name=NAME)),
    ):
        with pytest.raises(OutcomeUnknown):
            poll()


def test_html_page_is_no_success(service: EmulatedService) -> None:
    ref = service.serve()
    service.emulator.use_faults(
        FaultRule(action="status", method="PATCH", status=200, json="<html>One moment</html>")
    )

    with pytest.raises(MayflyError):
        service.plane.stop(ref)


def test_response_after_the_timeout_is_an_error(api: Api, emulator: Emulator) -> None:
    with emulated_service(api, emulator, timeout_s=1.0) as service:
        ref = service.plane.create(service.spec())
        emulator.use_faults(FaultRule(action="hang_before", method="GET", nth=(1,)))

        with pytest.raises(OutcomeUnknown, match="no response in time"):
            service.plane.observe(ref)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_key_is_bad_request_before_create(
    api: Api, emulator: Emulator, status: int
) -> None:
    emulator.use_faults(FaultRule(action="status", path="whoami", status=status, message="no"))

    with (
        pytest.raises(BadRequest, match=f"HTTP {status}: no") as refused,
        connect(api, connection(emulator.url)),
    ):
        pass

    assert refused.value.exit_code == 2


def test_v1_create_that_is_closed_names_the_alternative() -> None:
    with Emulator(clock=ManualClock()) as closed, emulated_service("v1", closed) as service:
        spec = service.spec()

        with pytest.raises(BadRequest, match="use --api v2") as raised:
            service.plane.create(spec)

    assert "endpoints_v1_create_access_disabled" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 2


def test_unknown_model_error_names_similar_models(service: EmulatedService) -> None:
    with pytest.raises(BadRequest, match=SMALL):
        service.plane.offers("Qwen/Qwen2.5-7B-Instrukt")
    with pytest.raises(BadRequest, match="no model has this name"):
        service.plane.offers("nobody/nothing")


def test_key_in_a_response_is_masked_everywhere(api: Api) -> None:
    key = "tgp_v1_0123456789abcdefghij"
    there = replace(connection("", project="p"), api_key=key)
    echo = Habit("echo", after=_echo)
    with (
        Emulator(clock=ManualClock(), v1_create=True, key=key) as emulator,
        HabitServer(emulator.url, echo) as server,
        connect(api, replace(there, base_url=server.url)) as plane,
        pytest.raises(MayflyError) as raised,
    ):
        plane.all_hardware()

    assert "Bearer [masked]" in str(raised.value)
    assert key not in str(raised.value)
    assert "\x1b" not in str(raised.value)


def _echo(exchange: Exchange) -> None:
    """Quote the request's headers and control the terminal, as a gateway in trouble may."""
    exchange.status = 400
    payload = f"\x1b]0;title\x07bad request: {exchange.headers['authorization']}"
    exchange.answer = {"error": {"message": payload}}


bodies = st.one_of(
    st.none(),
    st.text(max_size=300),
    st.dictionaries(st.sampled_from(["error", "code", "message", "detail"]), st.text(max_size=50)),
    st.fixed_dictionaries(
        {"error": st.fixed_dictionaries({"message": st.text(max_size=99), "code": st.text()})}
    ),
    st.fixed_dictionaries({"code": st.integers(), "message": st.text(), "details": st.just([])}),
    st.lists(st.integers(), max_size=3),
)


@given(status=st.integers(400, 599), body=bodies)
def test_refusal_of_any_shape_becomes_one_line(status: int, body: Any) -> None:
    from together import APIStatusError  # noqa: PLC0415 - half a second

    answer = httpx.Response(status, request=httpx.Request("POST", "http://h/x"))
    with pytest.raises(MayflyError) as raised, translated("do it"):
        raise APIStatusError("refused", response=answer, body=body)

    error = raised.value
    operation = "Together rejected the API key (" if status == 401 else "do it: "
    assert str(error).startswith(operation)
    assert "\n" not in str(error)
    if status in (401, 402, 403):
        assert isinstance(error, CredentialsRefused)
    elif status >= 500 or status in (408, 409, 425, 429):
        assert isinstance(error, RetryableError)
        assert error.status == status
    else:
        assert isinstance(error, TerminalError)
