"""The walls of the house, held by reading every import."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in ("flows", "tasks", "emulator", "benchmarks", "data")
    for path in (ROOT / folder).rglob("*.py")
)
LONGEST = 400


def imports(path: Path) -> Iterator[str]:
    """Yield the full names of what a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path: Path) -> str:
    """Return the room a file is in: `flows`, `tasks` (its own files), `tasks.core`, ..."""
    parts = path.relative_to(ROOT).parts
    return ".".join(parts[:2]) if parts[0] == "tasks" and len(parts) > 2 else parts[0]


def within(name: str, package: str) -> bool:
    """Whether a dotted name is a package or inside it."""
    return name == package or name.startswith(f"{package}.")


BELOW = {
    "tasks.core": (),
    "tasks.cloud": ("tasks.core",),
    "tasks.inference": ("tasks.core",),
    "tasks.storage": ("tasks.core",),
    "tasks.reporting": ("tasks.core", "tasks.storage"),
    "tasks.running": (
        "tasks.core", "tasks.cloud", "tasks.inference", "tasks.storage", "tasks.reporting",
    ),
}  # fmt: skip
"""The rooms of `tasks`, each with those it may import from beside itself."""

FORBIDDEN = {"tasks": ("flows", "emulator"), "emulator": ("flows", "tasks")}
HOMES = {
    "prefect": {"flows", "tasks"},
    "together": {"tasks.cloud", "benchmarks"},
    "pyarrow": {"tasks.storage", "data", "benchmarks"},
    "pandas": {"tasks.storage", "data", "benchmarks"},
    "pyreqwest": {"tasks.inference", "benchmarks"},
    "emulator": {"flows", "emulator", "benchmarks"},
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    here = room(path)
    for name in imports(path):
        for package in FORBIDDEN.get(here.partition(".")[0], ()):
            assert not within(name, package), f"{here} imports {name}"
        if here in BELOW and within(name, "tasks") and name != "tasks":
            allowed = (here, *BELOW[here])
            assert any(within(name, package) for package in allowed), f"{here} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_library_stays_in_its_room(path: Path) -> None:
    here = room(path)
    for name in imports(path):
        for library, homes in HOMES.items():
            assert not within(name, library) or here in homes, f"{here} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_a_room_that_a_person_can_hold_in_the_head(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST


def test_only_the_command_line_knows_the_emulator() -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        if room(path) != "emulator" and any(within(name, "emulator") for name in imports(path))
    }

    assert users <= {"flows/cli_endpoints.py", "flows/embedded.py"}


def test_flow_files_hold_no_classes() -> None:
    # Prefect loads a flow by its path, as a module of another name: a class that is defined there
    # would not be the one that others import.
    for name in ("batch_inference", "sweep_endpoints", "manage_endpoints"):
        tree = ast.parse((ROOT / "flows" / f"{name}.py").read_text())
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def test_nothing_that_is_shipped_names_a_package_registry() -> None:
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "registry.npmjs" + ".org")
    for path in [ROOT / "requirements.lock", ROOT / "Makefile", ROOT / "pyproject.toml"]:
        assert not any(host in path.read_text() for host in hosts), path
