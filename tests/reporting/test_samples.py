"""Samples of rows: request and response, with images as thumbnails."""

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mayfly.reporting.samples import SHOWN_CHARACTERS, sample
from mayfly.reporting.thumbnails import MAX_BYTES, thumbnail
from mayfly.storage.cells import UnreadableCell


def picture(side: int) -> bytes:
    """Return a PNG of noise, about 3 bytes for each pixel."""
    out = io.BytesIO()
    Image.effect_noise((side, side), 90).convert("RGB").save(out, "PNG")
    return out.getvalue()


def test_sample_has_thinking_tool_calls_and_figures() -> None:
    calls = (
        '[{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\\"a\\":1}"}}]'
    )
    row: dict[str, Any] = {
        "question": "why?",
        "response": None,
        "reasoning": "hm",
        "tool_calls": calls,
        "finish_reason": "tool_calls",
        "completion_tokens": 7,
        "error": None,
    }

    shown = sample(3, row, ["question"])

    assert shown == {
        "row": 3,
        "asked": {"question": "why?"},
        "response": None,
        "reasoning": "hm",
        "tool_calls": ['f({"a":1})'],
        "finish_reason": "tool_calls",
        "completion_tokens": 7,
    }


@pytest.mark.parametrize("calls", ["no JSON", "[1]", "7"])
def test_tool_calls_of_another_shape_are_shown_unchanged(calls: str) -> None:
    assert sample(0, {"response": None, "tool_calls": calls}, [])["tool_calls"] == [calls]


def test_sample_of_any_column_is_json_and_cut() -> None:
    row = {"response": "x" * 5000, "a": b"abc", "b": [{"c": b"de"}], "d": None}

    shown = sample(0, row, ["a", "b", "d"])

    assert shown["asked"] == {"a": "3 bytes", "b": '[{"c": "2 bytes"}]', "d": "None"}
    assert shown["response"] == "x" * SHOWN_CHARACTERS + "..."


@pytest.mark.parametrize("shape", ["bytes", "struct", "data URL"])
def test_image_inside_the_row_becomes_a_thumbnail(shape: str) -> None:
    image = picture(200)
    url = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    value = {"bytes": image, "struct": {"bytes": image, "path": "cat.png"}, "data URL": url}[shape]

    shown = thumbnail(value)

    assert shown["src"].startswith("data:image/")
    assert len(shown["src"]) < MAX_BYTES
    assert shown["text"] == ("cat.png" if shape == "struct" else f"{len(image):,} bytes")


def test_small_image_is_shown_as_it_is() -> None:
    image = picture(16)

    assert thumbnail(image)["src"] == (f"data:image/png;base64,{base64.b64encode(image).decode()}")


@pytest.mark.parametrize(
    "value",
    ["https://example.org/cat.png", "cat.png", "/etc/passwd", b"<svg onload='x'/>", b"GIF7"],
)
def test_remote_or_invalid_image_is_only_named(value: Any) -> None:
    assert "src" not in thumbnail(value)


def test_path_of_an_image_is_never_read(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(picture(16))

    assert thumbnail(str(path)) == {"text": str(path)} or len(str(path)) > 80


def test_images_of_a_list_are_each_shown() -> None:
    shown = sample(0, {"response": "", "pictures": [picture(16)] * 9}, ["pictures"], ["pictures"])

    assert len(shown["images"]) == 4
    assert shown["asked"] == {}


def test_unreadable_cell_says_so() -> None:
    cell = UnreadableCell("text is not UTF-8")

    shown = sample(0, {"response": "", "a": cell, "b": cell}, ["a", "b"], ["b"])

    assert shown["asked"] == {"a": "(text is not UTF-8)"}
    assert shown["images"] == [{"text": "(text is not UTF-8)"}]
