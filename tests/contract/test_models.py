"""Models of the catalogue and the project, by name, id or path, with their configs as offers."""

from collections.abc import Iterator

import httpx
import pytest

from mayfly.models.errors import BadRequest, MayflyError
from mayfly.planning.hardware import select_offers
from mayfly.together.suggestions import near_names
from tests.support.command_line import CommandLine
from tests.support.control_plane import NAME, SMALL, EmulatedService, emulated_service
from tests.support.habit_server import HabitServer
from tests.support.server_habits import HABITS
from together_emulator import Emulator, FaultRule, ManualClock
from together_emulator.state.catalogue import OWN_SLUG, PUBLIC_PROJECT
from together_emulator.state.own_models import THINKING

FINE_TUNE = f"{OWN_SLUG}/support-classifier"
ADAPTER = f"{OWN_SLUG}/support-tone-lora"
UPLOAD = f"{OWN_SLUG}/house-style"
NO_CONFIG = f"{OWN_SLUG}/too-large"
DRAFT = f"{OWN_SLUG}/contract-reader-speculator"


@pytest.fixture
def v2() -> Iterator[EmulatedService]:
    with (
        Emulator(clock=ManualClock(), v1_create=True) as emulator,
        emulated_service("v2", emulator) as service,
    ):
        yield service


def id_of(service: EmulatedService, name: str) -> str:
    """Return an own model's id."""
    return next(entry.id for entry in service.plane.models(mine=True) if entry.name == name)


def path_of(service: EmulatedService, name: str) -> str:
    """Return an own model's path, without a revision."""
    return f"projects/{service.plane.project}/models/{id_of(service, name)}"


@pytest.mark.parametrize("how", ["name", "id", "path"])
def test_fine_tune_is_found_by_name_id_and_path(v2: EmulatedService, how: str) -> None:
    given = {"name": FINE_TUNE, "id": id_of(v2, FINE_TUNE), "path": path_of(v2, FINE_TUNE)}[how]

    offers = v2.plane.offers(given)

    assert {offer.hardware for offer in offers} == {
        "1xnvidia-h100-80gb",
        "1xnvidia-h200-141gb",
        "1xnvidia-b200-180gb",
    }
    assert {offer.model_ref for offer in offers} == {path_of(v2, FINE_TUNE)}


def test_config_keeps_its_project_and_has_no_invented_benchmark(v2: EmulatedService) -> None:
    offers = v2.plane.offers(FINE_TUNE)

    assert all(o.config_ref.startswith(f"projects/{PUBLIC_PROJECT}/configs/cr_") for o in offers)
    assert {offer.tokens_per_s for offer in offers} == {None}


@pytest.mark.parametrize("model", [FINE_TUNE, ADAPTER, UPLOAD])
def test_own_model_is_deployed_and_answers(v2: EmulatedService, model: str) -> None:
    offer = v2.plane.offers(model)[0]
    spec = v2.spec(NAME)
    own = type(spec)(
        name=NAME,
        model=model,
        hardware=offer.hardware,
        price_usd_per_h=offer.price_usd_per_h,
        model_ref=offer.model_ref,
        config_ref=offer.config_ref,
    )
    ref = v2.serve(own)

    reply = httpx.post(
        f"{v2.plane.inference_url}/chat/completions",
        headers={"authorization": f"Bearer {v2.emulator.key}"},
        json={"model": ref.inference_name, "messages": [{"role": "user", "content": "Hello"}]},
        trust_env=False,
    )

    assert reply.status_code == 200, reply.text


def test_adapter_is_merged_on_a_config_without_adapters(v2: EmulatedService) -> None:
    merged = {offer.config for offer in v2.plane.offers(ADAPTER)}
    base = {offer.config for offer in v2.plane.offers(SMALL)}

    assert merged == base


def test_revision_is_pinned(v2: EmulatedService) -> None:
    revisions = httpx.get(
        f"{v2.url}/v2/{path_of(v2, FINE_TUNE)}/revisions",
        headers={"authorization": f"Bearer {v2.emulator.key}"},
        trust_env=False,
    ).json()["data"]
    failed, good = revisions[0]["revisionId"], revisions[1]["revisionId"]
    pinned = f"{path_of(v2, FINE_TUNE)}/revisions/{good}"

    assert {offer.model_ref for offer in v2.plane.offers(pinned)} == {pinned}
    with pytest.raises(BadRequest, match=f"failed its validation; choose one of: {good}"):
        v2.plane.offers(f"{path_of(v2, FINE_TUNE)}/revisions/{failed}")
    with pytest.raises(BadRequest, match="does not exist"):
        v2.plane.offers(f"{path_of(v2, FINE_TUNE)}/revisions/rv_none")


def test_revision_among_unnamed_ones_is_left_to_the_create_call(v2: EmulatedService) -> None:
    with (
        HabitServer(v2.url, HABITS["revisions without names"]) as other,
        emulated_service("v2", v2.emulator, url=other.url) as service,
    ):
        pinned = f"{path_of(service, FINE_TUNE)}/revisions/rv_any"

        assert {offer.model_ref for offer in service.plane.offers(pinned)} == {pinned}


def test_model_without_config_is_refused_with_remedy(v2: EmulatedService) -> None:
    with pytest.raises(BadRequest, match=r"config that can deploy it.*models --mine"):
        v2.plane.offers(NO_CONFIG)


def test_draft_model_is_refused_as_model(v2: EmulatedService) -> None:
    with pytest.raises(BadRequest, match="is not deployed by itself"):
        v2.plane.offers(DRAFT)


@pytest.mark.parametrize("model", ["ml_nothing", "projects/p/models/ml_nothing"])
def test_unknown_model_id_is_refused(v2: EmulatedService, model: str) -> None:
    with pytest.raises(BadRequest, match=f"--model {model}"):
        v2.plane.offers(model)


def test_invalid_model_path_is_refused_with_its_format(v2: EmulatedService) -> None:
    with pytest.raises(BadRequest, match="write projects/PROJECT/models/ML"):
        v2.plane.offers("projects/p/ml_x")


def test_config_outside_the_catalogue_can_be_pinned(v2: EmulatedService) -> None:
    shown = v2.plane.offers(SMALL)
    (one,) = v2.plane.offers(SMALL, config=shown[1].config)
    configs = httpx.get(
        f"{v2.url}/v2/projects/{v2.plane.project}/configs",
        params={"referenceModel": shown[0].model_ref.split("/revisions/")[0], "limit": 100},
        headers={"authorization": f"Bearer {v2.emulator.key}"},
        trust_env=False,
    ).json()["data"]
    hidden = next(c["id"] for c in configs if c["id"] not in {o.config for o in shown})
    (other,) = v2.plane.offers(SMALL, config=hidden)

    assert one == shown[1]
    assert other.config == hidden
    with pytest.raises(
        BadRequest, match=rf"--config cr_none: no available config.*{shown[0].config}"
    ):
        v2.plane.offers(SMALL, config="cr_none")


def test_v1_refuses_config_and_ids(v2: EmulatedService) -> None:
    with emulated_service("v1", v2.emulator) as old:
        with pytest.raises(BadRequest, match="API v1 has no configs"):
            old.plane.offers(SMALL, config="cr_1")
        with pytest.raises(BadRequest, match="API v1 takes names only"):
            old.plane.offers("ml_1")


def test_v1_accepts_the_name_of_a_fine_tune(v2: EmulatedService) -> None:
    with emulated_service("v1", v2.emulator) as old:
        assert old.plane.offers(FINE_TUNE)


def test_speculative_decoding_is_preferred_where_both_exist(v2: EmulatedService) -> None:
    offers = v2.plane.offers(THINKING)
    placement = select_offers(offers, model=THINKING, hardware="auto", regions=(), replicas=1)
    same = [o for o in offers if o.hardware == placement.chosen.hardware]

    assert len(same) == 2
    assert placement.chosen.draft_model
    assert placement.chosen.optimization == "throughput"


def test_unknown_model_suggestions_come_from_both_lists(v2: EmulatedService) -> None:
    with pytest.raises(BadRequest, match=f"did you mean {FINE_TUNE}"):
        v2.plane.offers(f"{OWN_SLUG}/support-clasifier")
    with pytest.raises(BadRequest, match=rf"did you mean .*{SMALL}"):
        v2.plane.offers("qwen/qwen2.5-7b-instruct")
    with pytest.raises(BadRequest) as nothing_near:
        v2.plane.offers("something/else-altogether")
    assert "did you mean" not in str(nothing_near.value)
    assert "`mayfly models`" in str(nothing_near.value)


def test_similar_names_are_those_at_small_distance() -> None:
    names = ["Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen3-32B", "zai-org/GLM-5", "team/support"]

    assert near_names("Qwen/Qwen2.5-7B-Instrct", names) == ["Qwen/Qwen2.5-7B-Instruct"]
    assert near_names("GLM5", names) == ["zai-org/GLM-5"]
    assert near_names("gpt-4", names) == []


def test_refused_list_of_own_models_is_reported(v2: EmulatedService) -> None:
    v2.emulator.use_faults(FaultRule(action="status", path="/models$", status=403))

    with pytest.raises(MayflyError, match="HTTP 403"):
        v2.plane.offers("nobody/nothing")


@pytest.fixture
def terminal(
    v2: EmulatedService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    monkeypatch.setenv("TOGETHER_API_KEY", v2.emulator.key)
    monkeypatch.setenv("TOGETHER_BASE_URL", v2.url)
    monkeypatch.delenv("TOGETHER_PROJECT_ID", raising=False)
    return CommandLine("v2", capsys)


def test_models_command_lists_own_models_with_base_and_configs(terminal: CommandLine) -> None:
    code, out = terminal.run("models", "--mine")
    lines = {line.split()[0]: line for line in out.splitlines()}

    assert code == 0
    assert "adapter" in lines[ADAPTER]
    assert SMALL in lines[ADAPTER]
    assert "none" in lines[NO_CONFIG]
    assert "draft" in lines[DRAFT]
    assert "none" in lines[DRAFT], "a draft model is not deployed by itself"


def test_models_command_searches_the_catalogue(terminal: CommandLine) -> None:
    found = terminal.json("models", "qwen2.5-7b")

    assert [entry["name"] for entry in found] == [SMALL]
    assert found[0]["configs"] == 3
