"""Layers, import rules and purity, checked by reading every import."""

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for folder in ("flows", "tasks", "mayfly", "together_emulator", "benchmarks", "data")
    for path in (ROOT / folder).rglob("*.py")
)
TESTS = sorted(
    # Without the clients that `tests/clients` installs below its own folder.
    path
    for path in (ROOT / "tests").rglob("*.py")
    if ".cache" not in path.relative_to(ROOT).parts
)
LONGEST = 500


@cache
def parsed(path: Path) -> ast.Module:
    """Parse a source file, once for all tests."""
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Return the full names of what a file imports, anywhere in it."""
    found = list[str]()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
    return tuple(found)


def room(path: Path) -> str:
    """Return the package of a file: `flows`, `tasks`, `mayfly.models`, `together_emulator`, ..."""
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
    ("mayfly.workers",),
    ("mayfly.endpoints", "mayfly.shards", "mayfly.planning"),
    ("mayfly.reporting",),
    ("mayfly.inference", "mayfly.together", "mayfly.storage", "mayfly.billing"),
    ("mayfly.models", "mayfly"),
)
"""From the top down: a package imports from those below its own layer. From `mayfly.workers` down,
the packages of one layer do not import each other; see docs/decisions/0018-run-composed.md."""

PURE = (
    "mayfly.backoff",
    "mayfly.billing.meter",
    "mayfly.billing.usage",
    "mayfly.endpoints.sweep_policy",
    "mayfly.inference.adaptive_limit",
    "mayfly.inference.background_refusals",
    "mayfly.inference.circuit_breaker",
    "mayfly.inference.concurrency",
    "mayfly.inference.hedging",
    "mayfly.inference.responses",
    "mayfly.inference.status_codes",
    "mayfly.inference.throughput_window",
    "mayfly.models.cost",
    "mayfly.models.durations",
    "mayfly.models.endpoint",
    "mayfly.models.errors",
    "mayfly.models.failures",
    "mayfly.models.http_errors",
    "mayfly.models.job",
    "mayfly.models.lease",
    "mayfly.models.manifest",
    "mayfly.models.offers",
    "mayfly.models.rows",
    "mayfly.models.shards",
    "mayfly.models.timeouts",
    "mayfly.planning.approval",
    "mayfly.planning.first_limit",
    "mayfly.planning.hardware",
    "mayfly.planning.measurements",
    "mayfly.planning.pricing",
    "mayfly.planning.ranking",
    "mayfly.planning.throughput",
    "mayfly.planning.tokens",
    "mayfly.planning.uncertainty",
    "mayfly.reporting.histogram",
    "mayfly.reporting.time_series",
    "mayfly.runs.autoscaler",
    "mayfly.runs.error_rate",
    "mayfly.workers.slots",
)
"""Modules without I/O, clock or randomness, neither their own nor by what they import."""

IMPURE = frozenset(
    (
        *("asyncio", "fcntl", "httpx", "io", "logging", "multiprocessing", "os", "pathlib"),
        *("prefect", "pyarrow", "random", "secrets", "select", "shutil", "signal", "socket"),
        *("subprocess", "sys", "tempfile", "threading", "time", "together", "uuid"),
        "urllib.request",
    )
)

STATE = {
    "mayfly.signals": {"_received"},  # context-local: signals of the block that defers them
    "mayfly.storage.atomic": {"_serial"},  # makes names of temporary files unique
    "mayfly.tasks.step": {"_messages"},  # context-local: messages of the task that runs
}
"""Module-level names that hold something that changes, each with its reason; never a run."""

ENVIRONMENT_READERS = {
    *("mayfly.api.calls", "mayfly.cli", "mayfly.orchestration"),  # the edge
    "mayfly.workers.dask_worker",  # the edge of a process on another machine
    "mayfly.endpoints.guardian",  # a process of its own, and what it is started with
    "mayfly.inference.transport.select",  # proxy and certificates of the process that sends
    "mayfly.reporting.environment",  # what git is started with
    "mayfly.reporting.telemetry",  # read by OpenTelemetry itself as well
    "mayfly.storage.uri_credentials",  # read by the libraries for remote files as well
    "mayfly.system",  # read once, as the process starts
}
"""Where `os.environ` may be read, each with its reason; everything else is given what it needs."""

CHANGEABLE = frozenset(
    (
        *("Condition", "ContextVar", "Event", "Lock", "RLock", "Semaphore", "local"),
        *("Counter", "OrderedDict", "defaultdict", "deque", "dict", "list", "set"),
        *("SimpleQueue", "WeakKeyDictionary", "WeakSet", "WeakValueDictionary", "count"),
    )
)
CHANGEABLE_ENDINGS = ("Cache", "Pool", "Queue", "Store")
"""Classes whose instances change, by name and by how their names end."""

HOMES = {
    "prefect": {"flows", "tasks", "mayfly.orchestration"},
    "together": {"mayfly.together", "benchmarks"},
    "pyarrow": {"mayfly.api", "mayfly.storage", "mayfly.reporting", "data", "benchmarks"},
    "pandas": {"mayfly.api", "mayfly.storage", "data", "benchmarks"},
    "opentelemetry": {"mayfly.reporting"},
    "pyreqwest": {"mayfly.inference", "benchmarks"},
    "together_emulator": {"mayfly.cli", "together_emulator", "benchmarks"},
}


def layer(name: str) -> int | None:
    """Return the layer of a package or of a dotted name within one; None for what is not ours."""
    short = (
        name.removeprefix("mayfly.") if name.startswith(("mayfly.flows", "mayfly.tasks")) else name
    )
    found = None
    for number, rooms in enumerate(LAYERS):
        if any(within(short, room) for room in rooms if room != "mayfly"):
            found = number
    return found if found is not None or not within(short, "mayfly") else len(LAYERS) - 1


def module_of(path: Path) -> str:
    """Return the dotted name of a source file."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return f"mayfly.{name}" if name.startswith(("flows", "tasks")) else name


MODULES = {
    module_of(path): path
    for path in SOURCES
    # `mayfly/flows` and `mayfly/tasks` are links to the folders beside it.
    if path.relative_to(ROOT).parts[:2] not in {("mayfly", "flows"), ("mayfly", "tasks")}
}


def imported_modules(module: str) -> set[str]:
    """Return the modules of ours that one imports, for type checkers too."""
    found = {name for name in imports(MODULES[module]) if name in MODULES}
    # `from mayfly.x import y` needs the package only as the way to `mayfly.x.y`.
    return {name for name in found if not MODULES[name].name.startswith("__init__")} - {module}


def test_imports_have_no_cycle() -> None:
    graph = {module: imported_modules(module) for module in MODULES}

    TopologicalSorter(graph).prepare()


def test_packages_of_one_layer_do_not_import_each_other() -> None:
    rooms = [set(layer) for layer in LAYERS[LAYERS.index(("mayfly.workers",)) : -1]]
    for module, path in MODULES.items():
        mine = room(path)
        for name in imported_modules(module):
            theirs = room(MODULES[name])
            same = any({mine, theirs} <= layer for layer in rooms)
            assert mine == theirs or not same, f"{module} imports {name}"


@pytest.mark.parametrize("module", PURE)
def test_pure_module_has_no_io_clock_or_randomness(module: str) -> None:
    seen, waiting = set[str](), [module]
    while waiting:
        current = waiting.pop()
        seen.add(current)
        for name in imports(MODULES[current]):
            assert not any(within(name, library) for library in IMPURE), f"{current} imports {name}"
        waiting += imported_modules(current) - seen


def changeable_names(module: str) -> set[str]:
    """Return the module-level names that hold something that changes, or are bound again."""
    held = {
        name
        for node in ast.walk(parsed(MODULES[module]))
        if isinstance(node, ast.Global)
        for name in node.names
    }
    for node in parsed(MODULES[module]).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        empty = isinstance(node.value, ast.List | ast.Dict) and not ast.unparse(node.value)[1:-1]
        made = ""
        if isinstance(node.value, ast.Call):
            function = node.value.func
            function = function.value if isinstance(function, ast.Subscript) else function
            made = ast.unparse(function).rpartition(".")[2]
        if empty or made in CHANGEABLE or made.endswith(CHANGEABLE_ENDINGS):
            held.add(ast.unparse(target))
    return held


def test_module_holds_no_run_state() -> None:
    library = [name for name in MODULES if within(name, "mayfly")]
    assert len(library) > 100

    held = {name: changeable_names(name) for name in library}

    assert {name: names for name, names in held.items() if names} == STATE


def test_environment_is_read_at_the_edge_only() -> None:
    readers = {
        name
        for name in MODULES
        if within(name, "mayfly")
        for node in ast.walk(parsed(MODULES[name]))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv")
    }

    allowed = {name for name in readers for home in ENVIRONMENT_READERS if within(name, home)}
    assert readers - allowed == set()
    assert {home for home in ENVIRONMENT_READERS if any(within(r, home) for r in readers)} == (
        ENVIRONMENT_READERS
    )


def test_imports_point_down() -> None:
    upward = []
    for path in SOURCES:
        here = room(path)
        if here == "together_emulator":
            upward += [f"{path}: {name}" for name in imports(path) if within(name, "mayfly")]
            continue
        if path == ROOT / "mayfly" / "__init__.py":
            continue  # The front door: what it names is loaded when it is used.
        mine = layer(here)
        assert mine is not None
        for name in imports(path):
            theirs = layer(name)
            if theirs is not None and theirs < mine:
                upward.append(f"{path}: {name}")

    assert upward == []


def test_library_stays_in_its_room() -> None:
    strangers = [
        f"{path}: {name}"
        for path in SOURCES
        for name in imports(path)
        for library, homes in HOMES.items()
        if within(name, library) and room(path) not in homes
    ]

    assert strangers == []


def test_file_has_at_most_500_lines() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in [*SOURCES, *TESTS]}

    assert {path: lines for path, lines in lengths.items() if lines > LONGEST} == {}


def test_tests_patch_nothing_by_name() -> None:
    # A name that moves is patched in vain; settings, clocks and systems are parameters.
    patching = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in TESTS
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node).startswith("monkeypatch.setattr(")
        # What a notebook puts there is its surroundings, as a variable of the environment is.
        and "builtins.get_ipython" not in ast.unparse(node)
    ]
    mocking = [str(path) for path in TESTS if any(within(n, "unittest") for n in imports(path))]

    assert patching + mocking == []


def test_tests_share_helpers_by_support_only() -> None:
    borrowed = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in TESTS
        for name in imports(path)
        if re.match(r"tests\.[\w.]*test_\w+", name)
    ]

    assert borrowed == []


def test_test_names_start_with_their_subject() -> None:
    sentences = re.compile(r"test_(a|an|the|it|what|one_that)_")
    names = [
        node.name
        for path in TESTS
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]

    assert [name for name in names if sentences.match(name)] == []


def test_emulator_is_imported_by_the_command_line_only() -> None:
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


def test_shipped_files_name_no_package_registry() -> None:
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "registry.npmjs" + ".org")
    for path in [ROOT / "requirements.lock", ROOT / "Makefile", ROOT / "pyproject.toml"]:
        assert not any(host in path.read_text() for host in hosts), path
