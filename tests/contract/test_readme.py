"""The table in README.md names existing tests."""

import re
from pathlib import Path

HERE = Path(__file__).parent


def test_contract_readme_names_existing_tests() -> None:
    rows = [line for line in (HERE / "README.md").read_text().splitlines() if line.startswith("|")]
    named: list[tuple[str, str]] = []
    for row in rows:
        file = ""
        for path, test in re.findall(r"`([\w/]*\.py)?(?:::(test_\w+))?[^`]*`", row):
            file = path or file
            if path or test:
                named.append((file, test))

    for path, test in named:
        source = (HERE.parents[1] / path) if "/" in path else HERE / path
        assert source.exists(), path
        assert not test or f"def {test}(" in source.read_text(), f"{path}::{test}"
    assert len([test for _, test in named if test]) > 25
