"""Whole runs over images, in every form that a cell may have."""

from base64 import b64encode
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.machine import Machine
from tests.support.pictures import png

VISION = "Qwen/Qwen3-VL-8B-Instruct"
IMAGE = png()
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture
def machine(machine: Machine) -> Machine:
    """A machine whose runs use a vision model."""
    machine.model = VISION
    return machine


def write(machine: Machine, **columns: Any) -> None:
    pq.write_table(pa.table(columns), machine.input)


def answers(machine: Machine) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(machine.output).to_pylist()
    return rows


def test_images_are_answered_and_unreadable_ones_are_errors_of_their_rows(
    machine: Machine,
) -> None:
    (machine.folder / "pictures").mkdir()
    (machine.folder / "pictures" / "a.png").write_bytes(IMAGE)
    (machine.folder.parent / "secret.png").write_bytes(IMAGE)
    texts = {
        1: "https://a.example/x.png",
        2: f"data:image/png;base64,{b64encode(IMAGE).decode()}",
        3: "pictures/a.png",
        6: "../secret.png",
        7: "pictures/none.png",
    }
    write(
        machine,
        n=list(range(10)),
        raw=pa.array([IMAGE, *[None] * 7, IMAGE[:-30], b"no picture"], pa.binary()),
        text=[texts.get(row) for row in range(10)],
        hf=pa.array(
            [{4: {"bytes": IMAGE}, 5: {"path": "pictures/a.png"}}.get(row) for row in range(10)],
            STRUCT,
        ),
    )

    run = machine.run(
        *("--prompt", "What is {{ n }}?", "--runner", "processes"),
        *("--image", "raw", "--image", "text", "--image", "hf"),
    )

    assert run.wait() == 3, run.text
    rows = answers(machine)
    assert [row["raw"] for row in rows] == [IMAGE, *[None] * 7, IMAGE[:-30], b"no picture"]
    assert all(row["response"] for row in rows[:6])
    assert all(row["prompt_tokens"] > 4 for row in rows[:6])
    errors = [row["error"] for row in rows[6:]]
    assert errors[0].endswith(f"input's folder {machine.folder}")
    assert [error.partition(":")[0] for error in errors] == [
        *("media_file", "media_file", "bad_media", "bad_media")
    ]
    assert "cut off" in errors[2]


def test_image_file_that_appeared_is_sent_by_retry_failed(machine: Machine) -> None:
    outside = machine.folder.parent / "outside.png"
    outside.write_bytes(IMAGE)
    write(machine, n=[0, 1, 2], image=[f"file://{outside}", "b.png", "broken.png"])
    (machine.folder / "broken.png").write_bytes(b"no picture")
    options = ("--prompt", "What?", "--image", "image")
    assert machine.run(*options).wait() == 3

    (machine.folder / "b.png").write_bytes(IMAGE)
    (machine.folder / "broken.png").write_bytes(IMAGE)
    run = machine.run(*options, "--retry-failed")

    assert run.wait() == 0, run.text
    assert [row["attempts"] for row in answers(machine)] == [1, 1, 1]


def test_equal_images_are_sent_once_with_dedupe(machine: Machine) -> None:
    (machine.folder / "a.png").write_bytes(IMAGE)
    data = f"data:image/png;base64,{b64encode(IMAGE).decode()}"
    write(machine, n=range(4), image=["a.png", data, "a.png", "https://a.example/x.png"])

    run = machine.run(
        *("--prompt", "What?", "--image", "image"),
        *("--dedupe", "--temperature", "0"),
    )

    assert run.wait() == 0, run.text
    assert machine.answered() == 2


def test_plan_counts_images_and_refuses_unknown_column(machine: Machine) -> None:
    write(machine, n=range(20), image=[png(560, 560)] * 20)

    plan = machine.command(
        *("plan", str(machine.input), "--model", VISION, "--prompt", "What?", "--json"),
        *("--image", "image"),
    )

    assert plan.wait() == 0, plan.text
    tokens = plan.json["workload"]["prompt_tokens_per_row"]
    assert tokens["low"] < 400 < tokens["high"]
    bad = machine.command(
        *("plan", str(machine.input), "--model", VISION, "--prompt", "What?", "--image", "picture")
    )
    assert bad.wait() == 2
    assert "--image picture: the input has no such column" in bad.text


def test_form_run_reads_no_file_outside_of_the_input(machine: Machine) -> None:
    outside = machine.folder.parent / "outside.png"
    outside.write_bytes(IMAGE)
    (machine.folder / "a.png").write_bytes(IMAGE)
    write(machine, n=[0, 1], image=[f"file://{outside}", "a.png"])
    prompt = {"template": "What?", "image_columns": ["image"]}

    run = machine.script(parameters={"prompt": prompt})

    assert run.wait() is not None
    rows = answers(machine)
    assert "leads out of the input's folder" in rows[0]["error"]
    assert rows[1]["response"]
