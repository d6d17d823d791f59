"""The SDK that is imported in parts is the SDK that is imported whole."""

import json
import subprocess
import sys

from mayfly.together.sdk import PACKAGES

NAMES = """
import ast, importlib, json, sys
if sys.argv[1] == "in parts":
    import mayfly.together.sdk
import together

found = {}
for package in json.loads(sys.argv[2]):
    module = importlib.import_module(package)
    for statement in ast.walk(ast.parse(open(module.__file__).read())):
        if isinstance(statement, ast.ImportFrom) and statement.level:
            for each in statement.names:
                value = getattr(module, each.name)
                home = getattr(value, "__module__", "")
                name = getattr(value, "__qualname__", getattr(value, "__name__", ""))
                found[f"{package}.{each.name}"] = f"{home}.{name}"
star = {}
exec("from together.types import *; from together.resources import *", star)
classes = sorted(name for name, value in star.items() if isinstance(value, type))
print(json.dumps([found, classes, hasattr(together.types, "no_such_name")]))
"""


def names(how: str) -> object:
    done = subprocess.run(
        [sys.executable, "-c", NAMES, how, json.dumps(sorted(PACKAGES))],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


def test_sdk_imported_in_parts_has_every_name_of_the_whole() -> None:
    in_parts, whole = names("in parts"), names("whole")

    assert in_parts == whole


def test_sdk_in_parts_imports_a_type_when_it_is_first_used() -> None:
    code = """
import sys
import mayfly.together.sdk
import together.types
before = "together.types.completion" in sys.modules
from together.types import Completion
print(before, Completion.__name__, "together.types.completion" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.split() == ["False", "Completion", "True"]
