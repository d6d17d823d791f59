"""`mayfly run --api v1`: the same flow, contract and promises over the legacy API."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from tests.prefect.conftest import MODEL, SAMPLE, PrefectStage
from together_emulator import Emulator

MAYFLY = str(Path(sys.executable).with_name("mayfly"))


def run(stage: PrefectStage, server: Emulator, output: Path, *options: str) -> tuple[int, str]:
    """Run the command as a user does; return its exit code and what it said."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("TOGETHER_", "PREFECT_"))}
    ended = subprocess.run(
        [
            MAYFLY, "run", str(SAMPLE), "--model", MODEL, "--output", str(output), "--yes",
            "--prompt", "Summarise: {{ message }}", "--limit", "20", "--api", "v1", *options,
        ],
        env=keep
        | {
            "TOGETHER_BASE_URL": server.url,
            "TOGETHER_API_KEY": server.key,
            "PREFECT_API_URL": str(stage.prefect.http.base_url).rstrip("/"),
            "PREFECT_HOME": str(stage.folder / "prefect"),
            "MAYFLY_HOME": str(output.parent / "home"),
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )  # fmt: skip
    return ended.returncode, ended.stdout + ended.stderr


def bodies(server: Emulator, method: str, path: str) -> list[dict[str, Any]]:
    """Return the bodies of requests."""
    calls = [call for call in server.calls() if (call.method, call.path) == (method, path)]
    return [json.loads(call.body) for call in calls]


def test_v1_run_answers_every_row_and_leaves_nothing(stage: PrefectStage, tmp_path: Path) -> None:
    with Emulator(speed=60, v1_create=True, keep_bodies=True) as server:
        code, said = run(
            stage, server, tmp_path / "answers",
            "--hardware", "1xnvidia-h100-80gb", "--replicas", "2",
            "--no-speculative-decoding", "--availability-zone", "us-east-1",
            "--inactive-timeout", "45",
        )  # fmt: skip
        created = bodies(server, "POST", "/v1/endpoints")
        asked = bodies(server, "POST", "/v1/chat/completions")
        left, bills = server.endpoints(), server.billing

    server_answers = pd.read_parquet(tmp_path / "answers")
    assert code == 0, said
    assert len(server_answers) == 20
    assert server_answers["response"].notna().all()
    assert (left, bills) == ([], 0)
    assert len(created) == 1
    assert created[0] | {"display_name": "", "model": ""} == {
        "model": "",
        "display_name": "",
        "hardware": "1x_nvidia_h100_80gb_sxm",
        "autoscaling": {"min_replicas": 2, "max_replicas": 2},
        "disable_speculative_decoding": True,
        "availability_zone": "us-east-1",
        "inactive_timeout": 45,
    }
    # By the name that the API made, never by an id.
    assert len({body["model"] for body in asked}) == 1
    assert "/" in asked[0]["model"]
    assert not asked[0]["model"].startswith("endpoint-")


def test_v1_create_that_is_closed_ends_run_and_names_the_alternative(
    stage: PrefectStage, tmp_path: Path
) -> None:
    with Emulator(speed=60) as closed:
        code, said = run(stage, closed, tmp_path / "answers")

    assert code == 2, said
    assert "use --api v2" in said
    assert "Traceback" not in said
