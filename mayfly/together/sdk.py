"""Import the official SDK without four hundred modules that our calls do not need.

`import together` executes every module of its types, and a client's first resource executes every
resource. The packages of `PACKAGES` consist of imports from their own modules only, so each of
those modules is imported here when one of its names is first used. Programs see the same SDK; an
SDK that was imported before is not changed.

Source: together 3.1, `together/{types,resources,lib}/__init__.py`.
"""

import ast
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

PACKAGES = frozenset(
    {
        "together.lib",
        "together.lib.types",
        "together.resources",
        "together.resources.endpoints",
        "together.resources.models",
        "together.types",
        "together.types.endpoints",
    }
)


class _LazyPackage(SourceFileLoader):
    """Loads a package whose names are imported on first use."""

    def exec_module(self, module: ModuleType) -> None:
        source = self.get_source(module.__name__)
        names = None if source is None else _names(source)
        if names is None:
            super().exec_module(module)
            return
        package = module.__name__

        def attribute(name: str) -> object:
            if name == "__all__":
                return sorted(names)
            if name in names:
                value = getattr(importlib.import_module(f"{package}.{names[name]}"), name)
            elif not name.startswith("_") and importlib.util.find_spec(f"{package}.{name}"):
                value = importlib.import_module(f"{package}.{name}")
            else:
                raise AttributeError(f"module {package!r} has no attribute {name!r}")
            setattr(module, name, value)
            return value

        vars(module)["__getattr__"] = attribute
        vars(module)["__dir__"] = lambda: sorted({*vars(module), *names})


def _names(source: str) -> dict[str, str] | None:
    """Return the module of each name that a package imports from its own modules.

    Returns:
        None if the package does anything else, or if a name is also that of a module, because
        importing the module would replace it.
    """
    found: dict[str, str] = {}
    for statement in ast.parse(source).body:
        match statement:
            case ast.ImportFrom(module="__future__") | ast.Assign(targets=[ast.Name("__all__")]):
                continue
            case ast.ImportFrom(level=1, module=module, names=names):
                if any(each.asname not in (None, each.name) or each.name == "*" for each in names):
                    return None
                if module is not None:
                    found.update((each.name, module) for each in names)
            case _:
                return None
    return None if any(name == at.partition(".")[0] for name, at in found.items()) else found


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in PACKAGES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        # Another loader (such as for a zip file) is not changed.
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _LazyPackage(spec.loader.name, spec.loader.path)
        return spec


@contextmanager
def _lazy_packages() -> Iterator[None]:
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


with _lazy_packages():
    # All of them while the finder is installed, because a client imports its resources later.
    from together import (
        DEFAULT_CONNECTION_LIMITS,
        APIConnectionError,
        APIError,
        APIStatusError,
        APITimeoutError,
        DefaultHttpxClient,
        Together,
    )

    for _package in sorted(PACKAGES):
        importlib.import_module(_package)

from together.resources.endpoints.hardware import HardwareResource  # noqa: E402 - see above

__all__ = [
    "DEFAULT_CONNECTION_LIMITS",
    "APIConnectionError",
    "APIError",
    "APIStatusError",
    "APITimeoutError",
    "DefaultHttpxClient",
    "HardwareResource",
    "Together",
]
