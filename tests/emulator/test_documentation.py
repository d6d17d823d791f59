"""The emulator's reference page names every option, setting, call and model."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from together_emulator.cli import parser
from together_emulator.state.catalogue_file import read_catalogue
from together_emulator.state.default_catalogue import default_catalogue
from together_emulator.state.faults import read_rules
from together_emulator.state.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "emulator.md").read_text()
OPTIONS = [
    option
    for action in parser()._actions
    for option in action.option_strings
    if option not in ("-h", "--help")
]


@pytest.mark.parametrize("option", OPTIONS)
def test_emulator_page_has_every_option(option: str) -> None:
    assert f"| `{option}" in PAGE or f"`{option} " in PAGE


@pytest.mark.parametrize("setting", [field.name for field in fields(Settings)])
def test_emulator_page_has_every_setting(setting: str) -> None:
    assert f"`{setting}`" in PAGE


@pytest.mark.parametrize("call", ["ledger", "calls", "clock", "faults", "capacity", "deployments"])
def test_emulator_page_has_every_admin_call(call: str) -> None:
    assert f"{call}" in PAGE.partition("## Control API")[2]


@pytest.mark.parametrize(
    "name", [m.name for m in default_catalogue().models if m.supported or m.own]
)
def test_emulator_page_has_every_model(name: str) -> None:
    assert f"`{name}`" in PAGE


def block_after(title: str) -> dict[str, Any]:
    """Return the page's first TOML block below a heading."""
    text = PAGE.partition(f"## {title}")[2].partition("```toml\n")[2].partition("```")[0]
    return tomllib.loads(text)


def test_emulator_page_example_catalogue_is_valid() -> None:
    catalogue = read_catalogue(block_after("Catalogue file"))

    assert catalogue.model_named("emulated-project/chat-1-tuned") is not None


def test_emulator_page_example_fault_rules_are_valid() -> None:
    assert [rule.action for rule in read_rules(block_after("Faults"))] == ["status", "reset_after"]


@pytest.mark.parametrize("folder", ["emulator", "clients"])
def test_emulator_readme_names_existing_tests(folder: str) -> None:
    tests = Path(__file__).parents[1]
    text = (tests / folder / "README.md").read_text()
    files = [*tests.glob("emulator/test_*.py"), *tests.glob("clients/test_*.py")]
    defined = {
        name for path in files for name in re.findall(r"def (test_\w+)\(", path.read_text())
    } | {path.stem for path in files}

    named = set(re.findall(r"`(?:clients/)?(test_\w+?)(?:\.py)?`", text))

    assert named
    assert named - defined == set()
