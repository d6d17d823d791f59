"""`mayfly hardware` and `mayfly plan`: available hardware, the chosen one, and the reason."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import CommandLine
from tests.support.control_plane import MEDIUM, SMALL, EmulatedService

SAMPLE = str(Path(__file__).parents[2] / "data" / "sample.parquet")


class Tables(CommandLine):
    """Runs `plan` for a job over the sample."""

    def plan(self, *options: str, model: str = SMALL) -> Any:
        """Return the plan of a job over the sample."""
        job = ("plan", SAMPLE, "--model", model, "--prompt", "{{ message }}")
        return self.json(*job, *options)

    def refused(self, *options: str, model: str = SMALL) -> str:
        """Return exit code and message of a refused plan."""
        code, printed = self.run(
            "plan", SAMPLE, "--model", model, "--prompt", "{{ message }}", *options
        )
        assert code in (1, 2)
        assert printed.count("\n") == 1, printed
        return f"{code} {printed}"


@pytest.fixture
def shell(
    service: EmulatedService,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Tables:
    """The command line of a user of the emulator."""
    for name, value in {
        "TOGETHER_BASE_URL": service.url,
        "TOGETHER_API_KEY": service.emulator.key,
        "MAYFLY_HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TOGETHER_PROJECT_ID", raising=False)
    return Tables(service.api, capsys)


def test_hardware_command_lists_all_cheapest_first(service: EmulatedService, shell: Tables) -> None:
    offers = shell.json("hardware")
    code, table = shell.run("hardware")

    prices = [offer["price_usd_per_h"] for offer in offers]
    assert len(offers) == 12
    assert prices == sorted(prices)
    assert code == 0
    for offer in offers:
        assert offer["hardware"] in table
        assert f"{offer['price_usd_per_h']:.2f}" in table
    assert len(table.splitlines()) == 13
    assert service.made() == 0


def test_hardware_command_for_a_model_lists_fit_and_availability(
    service: EmulatedService, shell: Tables
) -> None:
    service.emulator.set_free("2xnvidia-h100-80gb", 0)

    offers = {offer["gpu_count"]: offer for offer in shell.json("hardware", "--model", MEDIUM)}
    _, table = shell.run("hardware", "--model", MEDIUM)

    assert set(offers) == {1, 2}
    if service.api == "v1":
        assert offers[2]["availability"] == "insufficient"
        assert "insufficient" in table
    else:
        assert {region["free"] for region in offers[2]["regions"]} == {0}
        assert "us-east-1 0" in table


def test_plan_says_why_each_hardware_is_chosen_or_not(
    service: EmulatedService, shell: Tables
) -> None:
    service.emulator.set_free("1xnvidia-h100-80gb", 0)

    plan = shell.plan()
    _, text = shell.run("plan", SAMPLE, "--model", SMALL, "--prompt", "{{ message }}")

    by_gpu = {
        candidate["gpu_type"].split("-")[0].upper(): candidate for candidate in plan["candidates"]
    }
    assert not by_gpu["H100"]["eligible"]
    assert "no capacity" in by_gpu["H100"]["why"]
    assert sum(candidate["chosen"] for candidate in plan["candidates"]) == 1
    assert plan["hardware"] == next(c["hardware"] for c in plan["candidates"] if c["chosen"])
    assert all(candidate["why"] in text for candidate in plan["candidates"])
    assert service.made() == 0


@pytest.mark.parametrize("spelling", ["1xnvidia-h200-141gb", "1x_nvidia_h200_141gb_sxm"])
def test_hardware_id_is_accepted_in_both_spellings(shell: Tables, spelling: str) -> None:
    chosen = shell.plan("--hardware", spelling)["hardware"]

    assert "h200" in chosen


def test_hardware_that_does_not_fit_is_refused_with_a_list(
    service: EmulatedService, shell: Tables
) -> None:
    why = shell.refused("--hardware", "8xnvidia-b200-180gb")

    assert why.startswith("2 ")
    assert "does not fit" in why
    for offer in service.plane.offers(SMALL):
        assert offer.hardware in why


def test_hardware_without_capacity_is_no_bad_request(
    service: EmulatedService, shell: Tables
) -> None:
    service.emulator.set_free("1xnvidia-h100-80gb", 0)

    assert shell.refused("--hardware", "1xnvidia-h100-80gb").startswith("1 ")


def test_allowed_region_is_used(service: EmulatedService, shell: Tables) -> None:
    plan = shell.plan("--region", "eu-west-1")

    chosen = next(c for c in plan["candidates"] if c["chosen"])
    assert "eu-west-1" in {region["name"] for region in chosen["regions"]}
    assert service.made() == 0


def test_unknown_region_is_refused_with_a_list(shell: Tables) -> None:
    why = shell.refused("--region", "atlantis")

    assert why.startswith("2 ")
    assert "us-east-1" in why


def test_unknown_model_is_exit_2(shell: Tables) -> None:
    assert shell.refused(model="nobody/nothing").startswith("2 ")


def test_undeployable_model_is_exit_2(shell: Tables) -> None:
    why = shell.refused(model="deepseek-ai/DeepSeek-V3.1")

    assert why.startswith("2 ")
    assert "no hardware can deploy it" in why


def test_v1_options_are_accepted_by_v1_only(service: EmulatedService, shell: Tables) -> None:
    options = ("--no-speculative-decoding", "--availability-zone", "us-east-1")
    if service.api == "v1":
        assert shell.plan(*options)["hardware"]
        assert "atlantis" in shell.refused("--availability-zone", "atlantis")
    else:
        for option in (options[:1], options[1:]):
            why = shell.refused(*option)
            assert why.startswith("2 ")
            assert "v1" in why


def test_idle_timeout_out_of_range_is_refused(shell: Tables) -> None:
    assert "30" in shell.refused("--inactive-timeout", "5")


def test_refused_key_is_exit_2(shell: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "of-nobody")

    assert shell.refused().startswith("2 ")


def test_existing_endpoint_needs_no_hardware(service: EmulatedService, shell: Tables) -> None:
    ref = service.plane.create(service.spec())

    plan = shell.plan("--endpoint", ref.name)

    assert plan["endpoint"] == ref.name
    assert plan["hardware"] is None
    assert plan["candidates"] == []
