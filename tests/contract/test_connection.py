"""Key, project, base URL and headers: the variables of the SDK with the meaning of the SDK."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.models.endpoint import Api
from mayfly.models.errors import BadRequest
from mayfly.together.connection import INFERENCE_URL, MANAGEMENT_URL, Connection
from mayfly.together.factory import connect
from tests.support.control_plane import SMALL, connection, emulated_service
from tests.support.habit_server import Exchange, Habit, HabitServer
from together_emulator import Emulator

KEY = {"TOGETHER_API_KEY": "secret-key"}


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/", "/v2", "  "])
def test_base_url_is_the_same_with_and_without_version(
    api: Api, emulator: Emulator, tail: str
) -> None:
    env = {"TOGETHER_API_KEY": emulator.key, "TOGETHER_BASE_URL": f"{emulator.url}{tail}"}

    with connect(api, Connection.from_env(env)) as plane:
        assert len(plane.all_hardware()) == 12
        assert plane.inference_url == f"{emulator.url}/v1"


def test_base_url_defaults_to_that_of_each_generation() -> None:
    there = Connection.from_env(KEY)

    assert there.base_url == MANAGEMENT_URL
    assert there.inference_url == f"{INFERENCE_URL}/v1"
    with connect("v1", Connection.from_env(KEY | {"TOGETHER_PROJECT_ID": "proj_x"})) as old:
        assert old.inference_url == f"{MANAGEMENT_URL}/v1"


def test_base_url_of_inference_host_is_kept_to_inference() -> None:
    there = Connection.from_env(KEY | {"TOGETHER_BASE_URL": f"{INFERENCE_URL}/v1"})

    assert there.base_url == MANAGEMENT_URL
    assert there.inference_url == f"{INFERENCE_URL}/v1"


def test_missing_key_is_refused_without_a_call() -> None:
    with pytest.raises(BadRequest, match="TOGETHER_API_KEY is not set"):
        Connection.from_env({"TOGETHER_API_KEY": "  "})


def test_invalid_base_url_is_refused() -> None:
    with pytest.raises(BadRequest, match="is not a URL"):
        Connection.from_env(KEY | {"TOGETHER_BASE_URL": "api.together.ai"})


def test_connection_repr_hides_the_key() -> None:
    env = KEY | {"TOGETHER_CUSTOM_HEADERS": "X-Token: token-of-the-user"}

    shown = repr(Connection.from_env(env))

    assert KEY["TOGETHER_API_KEY"] not in shown
    assert "token-of-the-user" not in shown


def test_custom_headers_are_sent_by_inference_and_control_plane(
    api: Api, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def note(exchange: Exchange) -> None:
        seen.append(exchange.headers.get("x-team", ""))

    with HabitServer(emulator.url, Habit("notes headers", before=note)) as other:
        lines = "X-Team: batch\nX-More: a:b"
        monkeypatch.setenv("TOGETHER_CUSTOM_HEADERS", lines)
        env = {
            "TOGETHER_API_KEY": emulator.key,
            "TOGETHER_BASE_URL": other.url,
            "TOGETHER_CUSTOM_HEADERS": lines,
        }
        there = Connection.from_env(env)
        with connect(api, there) as plane:
            plane.all_hardware()

    assert set(seen) == {"batch"}
    assert there.headers()["X-Team"] == "batch"
    assert there.headers()["X-More"] == "a:b"


@given(name=st.sampled_from(["Authorization", "authorization", "AUTHORIZATION"]))
def test_custom_authorization_replaces_that_of_the_key(name: str) -> None:
    there = Connection.from_env(KEY | {"TOGETHER_CUSTOM_HEADERS": f"{name}: Bearer other"})

    headers = there.headers()

    assert {key.lower(): value for key, value in headers.items()} == {
        "authorization": "Bearer other"
    }
    assert len(headers) == 1


def test_project_defaults_to_that_of_the_key(api: Api, emulator: Emulator) -> None:
    with emulated_service(api, emulator) as scoped:
        assert scoped.plane.project == emulator.project_id
    before = len(emulator.calls())
    with emulated_service(api, emulator, project="proj_named") as named:
        assert named.plane.project == "proj_named"

    assert len(emulator.calls()) == before


def test_invisible_project_is_refused_before_create(
    emulator: Emulator,
) -> None:
    with (
        emulated_service("v2", emulator, project="proj_of_others") as service,
        pytest.raises(BadRequest, match=r"TOGETHER_PROJECT_ID proj_of_others: .*leave it unset"),
    ):
        service.plane.offers(SMALL)


def _organization_key(exchange: Exchange) -> None:
    """Answer whoami as for a key of an organization, which names no project."""
    if exchange.path == "/v3/whoami":
        exchange.answer.pop("project")
        exchange.answer["type"] = "org_api_key"


def _second_project(exchange: Exchange) -> None:
    if exchange.path == "/v1/projects":
        exchange.answer["data"].append({"id": "proj_2", "name": "Second", "slug": "second"})


def test_organization_key_with_one_project_uses_it(api: Api, emulator: Emulator) -> None:
    with (
        HabitServer(emulator.url, Habit("org", after=_organization_key)) as other,
        emulated_service(api, emulator, url=other.url) as service,
    ):
        assert service.plane.project == emulator.project_id


def test_organization_key_with_several_projects_is_refused_with_a_list(
    emulator: Emulator,
) -> None:
    habits = Habit("org", after=_organization_key), Habit("two", after=_second_project)
    with (
        HabitServer(emulator.url, *habits) as other,
        pytest.raises(BadRequest, match=r"set TOGETHER_PROJECT_ID to one of: .*proj_2 \(Second\)"),
        connect("v2", connection(other.url)),
    ):
        pass


def test_v1_accepts_a_key_of_several_projects(emulator: Emulator) -> None:
    habits = Habit("org", after=_organization_key), Habit("two", after=_second_project)
    with (
        HabitServer(emulator.url, *habits) as other,
        emulated_service("v1", emulator, url=other.url) as service,
    ):
        assert service.plane.project == ""
        assert service.plane.create(service.spec()).endpoint_id
