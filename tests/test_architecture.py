"""The walls of the house, held by reading every import."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for folder in ("flows", "tasks", "mayfly", "together_emulator", "benchmarks", "data")
    for path in (ROOT / folder).rglob("*.py")
)
LONGEST = 500


def imports(path: Path) -> Iterator[str]:
    """Yield the full names of what a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path: Path) -> str:
    """Return the room a file is in: `flows`, `tasks`, `mayfly.models`, `together_emulator`, ..."""
    parts = path.relative_to(ROOT).parts
    return ".".join(parts[:2]) if parts[0] == "mayfly" and len(parts) > 2 else parts[0]


def within(name: str, package: str) -> bool:
    """Whether a dotted name is a package or inside it."""
    return name == package or name.startswith(f"{package}.")


LAYERS = (
    ("mayfly.api",),
    ("mayfly.cli", "flows", "benchmarks", "data"),
    ("tasks", "mayfly.orchestration"),
    ("mayfly.runs",),
    ("mayfly.endpoints", "mayfly.shards", "mayfly.workers", "mayfly.planning"),
    ("mayfly.inference", "mayfly.together", "mayfly.storage", "mayfly.reporting", "mayfly.billing"),
    ("mayfly.models", "mayfly"),
)
"""From the top down: a room imports from those below its own layer."""

HOMES = {
    "prefect": {"flows", "tasks", "mayfly.orchestration"},
    "together": {"mayfly.together", "benchmarks"},
    "pyarrow": {"mayfly.api", "mayfly.storage", "mayfly.reporting", "data", "benchmarks"},
    "pandas": {"mayfly.api", "mayfly.storage", "data", "benchmarks"},
    "pyreqwest": {"mayfly.inference", "benchmarks"},
    "together_emulator": {"mayfly.cli", "together_emulator", "benchmarks"},
}


def layer(name: str) -> int | None:
    """Return the layer of a room or of a dotted name within one; None for what is not ours."""
    short = (
        name.removeprefix("mayfly.") if name.startswith(("mayfly.flows", "mayfly.tasks")) else name
    )
    found = None
    for number, rooms in enumerate(LAYERS):
        if any(within(short, room) for room in rooms if room != "mayfly"):
            found = number
    return found if found is not None or not within(short, "mayfly") else len(LAYERS) - 1


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    here = room(path)
    if here == "together_emulator":
        assert not any(within(name, "mayfly") for name in imports(path))
        return
    if path == ROOT / "mayfly" / "__init__.py":
        return  # The front door: what it names is loaded when it is used.
    mine = layer(here)
    assert mine is not None
    for name in imports(path):
        theirs = layer(name)
        assert theirs is None or theirs >= mine, f"{here} imports {name}"


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
        if room(path) != "together_emulator"
        and any(within(name, "together_emulator") for name in imports(path))
    }

    assert users <= {"mayfly/cli/endpoints.py", "mayfly/cli/local_emulator.py"}


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
