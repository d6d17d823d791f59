"""A catalogue from a file."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.emulator.conftest import TLS
from tests.support.emulator_client import EmulatorClient
from together_emulator import Emulator, ManualClock
from together_emulator.state.catalogue_file import load_catalogue, read_catalogue

TOML = """
[[hardware]]
accelerator = "amd-mi355x-288gb"
gpu_type = "MI355X"
gpu_count = 1
gpu_memory_gib = 288
price_cents_per_h = 700
rooms = [{ region = "us-west-1", replicas = 3 }]

[[models]]
name = "acme/chat-1"
context_length = 8192
thinking = "default"
inputs = ["text", "image"]
profiles = [{ hardware = "1xamd-mi355x-288gb", decoding_tps = 200.0, cold_start_s = 10 }]

[[models]]
name = "chat-1-tuned"
own = true
base = "acme/chat-1"
revisions = [{ label = "a" }, { label = "b", valid = false }]
"""


def test_catalogue_file_adds_models_hardware_and_own_models(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.toml"
    path.write_text(TOML)

    with (
        Emulator(clock=ManualClock(), catalogue=load_catalogue(path)) as emulator,
        httpx.Client(
            base_url=emulator.url, headers={"authorization": "Bearer local"}, verify=TLS
        ) as http,
    ):
        api = EmulatorClient(emulator, http)
        profile = api.profile("acme/chat-1", "MI355X")
        endpoint, _ = api.serve(profile=profile)
        answer = api.chat(endpoint["name"]).json()
        (mine,) = http.get(f"{api.p}/models").json()["data"]

    assert profile["performanceBenchmarks"] == {"decodingSpeedTps": 200.0}
    assert answer["choices"][0]["message"]["reasoning"]
    assert mine["name"] == "emulated-project/chat-1-tuned"


def test_catalogue_file_that_extends_keeps_default_models(tmp_path: Path) -> None:
    path = tmp_path / "more.json"
    profile = {"hardware": "1xnvidia-h100-80gb"}
    path.write_text(
        json.dumps({"extend": True, "models": [{"name": "acme/x", "profiles": [profile]}]})
    )

    catalogue = load_catalogue(path)

    assert catalogue.model_named("acme/x") is not None
    assert catalogue.model_named("Qwen/Qwen3.5-9B") is not None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], "the file must be a table"),
        ({}, "models is empty"),
        ({"modles": []}, "unknown field 'modles'"),
        ({"models": [{"name": "a/b", "colour": 1}]}, "models[0]: unknown field 'colour'"),
        ({"models": [{"context_length": 5}]}, "models[0]: name is missing"),
        ({"models": [{"name": "a/b", "thinking": "loud"}]}, "models[0].thinking must be one of"),
        ({"models": [{"name": "a/b", "profiles": [{"hardware": "9xgpu"}]}]}, "no instance type"),
        ({"models": [{"name": "a/b", "base": "c/d"}]}, "base model c/d does not exist"),
        ({"models": [{"name": "a/b"}, {"name": "a/b"}]}, "same name"),
        (
            {"models": [{"name": "a/b", "profiles": [{"hardware": "1xnvidia-h100-80gb"}] * 2}]},
            "`variant`",
        ),
        ({"models": {"name": "a/b"}}, "models must be a list"),
    ],
)
def test_invalid_catalogue_file_error_names_entry_and_reason(given: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)):
        read_catalogue(given)


@pytest.mark.parametrize(("name", "text"), [("c.toml", "models = ["), ("c.json", "{")])
def test_unparsable_catalogue_file_error_names_file(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)

    with pytest.raises(ValueError, match=name):
        load_catalogue(path)
