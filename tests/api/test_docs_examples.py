"""Python examples of the README and the reference run as printed."""

import re
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.mark.usefixtures("emulator")
@pytest.mark.parametrize("page", ["README.md", "docs/reference/python.md"])
def test_python_examples_of_a_page_run_as_printed(page: str) -> None:
    examples = [text for text in BLOCK.findall((ROOT / page).read_text()) if "mayfly.run" in text]
    frame = pd.DataFrame({"question": ["What is 2 + 2?", "Name a colour."]})

    for example in examples:
        names = {"frame": frame}
        exec(example, names)  # noqa: S102 - our own page

    assert examples
