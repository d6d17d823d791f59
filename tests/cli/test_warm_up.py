"""Slow imports happen while the endpoint starts, not while it bills."""

import subprocess
import sys

from tests.support.shell import ROOT

LOADED = """
import sys
import mayfly.storage.parts as parts
before = "pandas" in sys.modules
parts.warm_up()
print(before, "pandas" in sys.modules)
"""


def test_pandas_is_imported_by_the_warm_up_only() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout == "False True\n"
