"""`python -m tests.prefect.screenshots`: take the screenshots of the documentation again.

Runs the browser tests, which leave a screenshot of every step in artifacts/prefect, and keeps the
four of the documentation, reduced, in docs/images.
"""

import sys

import pytest
from PIL import Image

from tests.support.browser import PICTURES
from tests.support.prefect_deployments import ROOT

CHOSEN = ("form-filled", "approval", "run", "batch-inference-result")
COLOURS = 64
LARGEST_BYTES = 150_000


def main() -> int:
    """Run the tests, then shrink what they saw."""
    if code := pytest.main(["-q", str(ROOT / "tests" / "prefect" / "test_browser.py")]):
        return int(code)
    images = ROOT / "docs" / "images"
    images.mkdir(parents=True, exist_ok=True)
    for name in CHOSEN:
        small = images / f"prefect-{name}.png"
        with Image.open(PICTURES / f"{name}.png") as picture:
            picture.convert("RGB").quantize(COLOURS).save(small, optimize=True)
        size = small.stat().st_size
        print(f"{small.relative_to(ROOT)}: {size:,} bytes")  # noqa: T201
        if size > LARGEST_BYTES:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
