"""Cells of images, audio and video become content parts, or an error of their row."""

from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.inference.media import PART_BYTES, REQUEST_BYTES, cell_parts
from mayfly.inference.media_types import image_size, media_type, media_type_as
from mayfly.inference.request_builder import Renderer
from mayfly.models.batch_lines import BatchLines
from mayfly.models.errors import BadRequest
from mayfly.models.failures import BAD_MEDIA, BAD_MESSAGES, MEDIA_FILE
from mayfly.models.job import PromptSpec, Sampling
from mayfly.models.rows import RowRequest
from tests.support.pictures import bmp, gif, jpeg, mp4, png, wav, webp

FILES = {"a.png": png(), "wrong-name.png": jpeg(), "notes.png": b"not a picture at all"}


def read(name: str, most: int) -> bytes:
    if name not in FILES:
        raise ValueError(f"{name} cannot be read: no such file")
    assert most == PART_BYTES
    return FILES[name]


def data_url(content: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{b64encode(content).decode()}"


def parts(cell: Any, kind: Any = "image") -> list[Any]:
    return [orjson.loads(part) for part in cell_parts(kind, cell, read)]


def url(cell: Any, kind: str = "image") -> str:
    [part] = parts(cell, kind)
    assert part["type"] == f"{kind}_url"
    return str(part[f"{kind}_url"]["url"])


def requests(
    columns: dict[str, Any], *, prompt: str | None = "What is it?", **spec: Any
) -> list[RowRequest]:
    named = PromptSpec(template=prompt, image_columns=("image",), **spec)
    renderer = Renderer(named, Sampling(), list(columns), read_file=read)
    needed = {name: columns[name] for name in renderer.needs}
    return list(renderer.bodies("m", 0, needed, len(columns["image"])))


def sent(cell: Any, **more: Any) -> Any:
    [request] = requests({"image": [cell], **{k: [v] for k, v in more.items()}}, prompt=None)
    assert request.failure is None, request.failure
    return orjson.loads(request.body)["messages"]


def failure(cell: Any, **spec: Any) -> Any:
    [request] = requests({"image": [cell]}, **spec)
    assert request.failure is not None
    return request.failure


@pytest.mark.parametrize(
    ("content", "mime"),
    [
        (png(), "image/png"),
        (jpeg(meta_bytes=40), "image/jpeg"),
        (gif(), "image/gif"),
        (webp(), "image/webp"),
        (bmp(), "image/bmp"),
        (wav(), "audio/wav"),
        (b"ID3\x04" + bytes(40), "audio/mpeg"),
        (b"\xff\xfb\x90\x64" + bytes(40), "audio/mpeg"),
        (b"\xff\xf1\x50\x80" + bytes(40), "audio/aac"),
        (b"fLaC" + bytes(40), "audio/flac"),
        (b"OggS" + bytes(40), "audio/ogg"),
        (b"\x00\x00\x00\x20ftypM4A " + bytes(20), "audio/mp4"),
        (mp4(), "video/mp4"),
        (b"\x00\x00\x00\x14ftypqt  " + bytes(20), "video/quicktime"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm" + bytes(20), "video/webm"),
        (b"\x00\x00\x00\x1cftypavif" + bytes(20), "image/avif"),
        (b"", None),
        (b"hello, world", None),
        ("\ufeffhello".encode("utf-16"), None),
    ],
)
def test_media_type_is_detected_from_bytes(content: bytes, mime: str | None) -> None:
    assert media_type(content) == mime


@pytest.mark.parametrize("make", [png, jpeg, gif, webp, bmp])
@given(width=st.integers(1, 300), height=st.integers(1, 300))
def test_image_size_is_read_from_its_header(
    make: Callable[[int, int], bytes], width: int, height: int
) -> None:
    assert image_size(make(width, height)) == (width, height)


@given(content=st.binary(max_size=200), start=st.sampled_from([b"", *map(bytes, (png(), jpeg()))]))
def test_arbitrary_bytes_never_fail_the_readers(content: bytes, start: bytes) -> None:
    image_size(start[: len(content)] + content)
    media_type(start[:12] + content)


@given(more_bytes=st.integers(0, 3000))
def test_bytes_are_sent_as_a_data_url_of_the_detected_type(more_bytes: int) -> None:
    content = png(more_bytes=more_bytes)

    assert url(content) == data_url(content)
    assert url(bytearray(content)) == url(memoryview(content)) == url(content)
    assert b64decode(url(content).partition(",")[2]) == content


def test_container_format_follows_the_requested_kind() -> None:
    assert media_type_as("audio", mp4()) == "audio/mp4"
    assert media_type_as("video", b"OggS" + bytes(60)) == "video/ogg"
    assert url(wav(), "audio").startswith("data:audio/wav;base64,")
    assert url(mp4(), "video").startswith("data:video/mp4;base64,")


@pytest.mark.parametrize("text", ['https://a.example/x.png?y="1"&z=ü', "HTTPS://a.example/x"])
def test_url_is_sent_unchanged(text: str) -> None:
    assert url(text) == text


def test_data_url_is_sent_unchanged_unless_its_type_is_wrong() -> None:
    assert url(data_url(png(), "image/jpeg")) == data_url(png(), "image/jpeg")
    assert url(data_url(png(), "image/png;name=x")) == data_url(png(), "image/png;name=x")
    assert url(data_url(png(), "application/octet-stream")) == data_url(png())


def test_path_is_read_and_its_content_decides_the_type() -> None:
    assert url("a.png") == data_url(png())
    assert url("wrong-name.png").startswith("data:image/jpeg;base64,")


def test_hugging_face_struct_is_its_bytes_or_its_path() -> None:
    assert url({"bytes": png(), "path": "missing.jpg"}) == data_url(png())
    assert url({"bytes": None, "path": "a.png"}) == data_url(png())
    assert parts({"bytes": None, "path": None}) == []


def test_list_is_several_parts_and_null_is_none() -> None:
    assert len(parts([png(), None, "a.png", {"bytes": png(), "path": None}])) == 3
    assert parts(None) == parts([]) == parts([None]) == []


@pytest.mark.parametrize(
    ("cell", "kind", "expected"),
    [
        (b"not a picture", BAD_MEDIA, "not an image of a known type"),
        (b"", BAD_MEDIA, "content is empty"),
        ("", BAD_MEDIA, "text is empty"),
        (png()[:-20], BAD_MEDIA, "cut off"),
        (png()[:14], BAD_MEDIA, "no width and height"),
        (png(0, 0), BAD_MEDIA, "no width and height"),
        (webp()[:-4], BAD_MEDIA, "no width and height"),
        (wav(), BAD_MEDIA, "audio/wav, not an image"),
        (7, BAD_MEDIA, "int is not an image"),
        ({"array": [1]}, BAD_MEDIA, "array has no bytes or path"),
        ("data:image/png,abc", BAD_MEDIA, "base64"),
        ("data:image/png;base64,abc!", BAD_MEDIA, "base64"),
        (data_url(b"no picture"), BAD_MEDIA, "not an image of a known type"),
        ("missing.png", MEDIA_FILE, "no such file"),
        ("notes.png", MEDIA_FILE, "not an image of a known type"),
    ],
)
def test_unusable_media_is_an_error_of_its_row_with_its_column(
    cell: Any, kind: str, expected: str
) -> None:
    found = failure(cell)

    assert found.kind == kind
    assert found.message.startswith("column image: ")
    assert expected in found.message


def test_oversized_part_names_its_size_and_the_limit() -> None:
    found = failure(png() + bytes(PART_BYTES))

    assert found.kind == BAD_MEDIA
    assert "20.0 MB; an image may have 20.0 MB" in found.message


def test_oversized_request_names_its_size_and_the_limit() -> None:
    each = png() + bytes(PART_BYTES - 1000)
    assert 2 * len(each) * 4 // 3 > REQUEST_BYTES

    assert "a request may have 50.0 MB" in failure([each, each]).message


def test_parts_follow_the_text_of_a_template() -> None:
    [request] = requests({"image": [png()]})

    [message] = orjson.loads(request.body)["messages"]
    assert message["role"] == "user"
    assert message["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": data_url(png())}},
    ]


def test_row_without_media_is_sent_as_text() -> None:
    [request] = requests({"image": [None]})

    assert orjson.loads(request.body)["messages"] == [{"role": "user", "content": "What is it?"}]


def test_parts_go_to_the_last_user_message() -> None:
    first = {"role": "user", "content": "one"}
    reply = {"role": "assistant", "content": "two"}
    last = {"role": "user", "content": [{"type": "text", "text": "three", "image_url": None}]}

    messages = sent(png(), messages=[first, reply, last, reply])

    assert [messages[0], messages[1], messages[3]] == [first, reply, reply]
    assert messages[2]["content"] == [
        {"type": "text", "text": "three"},
        {"type": "image_url", "image_url": {"url": data_url(png())}},
    ]


def test_messages_as_json_and_in_a_prompt_column_take_parts() -> None:
    text = orjson.dumps([{"role": "user", "content": "one"}]).decode()

    for more in ({"messages": text}, {"prompt": [{"role": "user", "content": "one"}]}):
        [message] = sent(png(), **more)
        assert [part["type"] for part in message["content"]] == ["text", "image_url"]


def test_messages_without_a_user_message_cannot_take_parts() -> None:
    [request] = requests(
        {"image": [png()], "messages": [[{"role": "system", "content": "x"}]]}, prompt=None
    )

    assert request.failure is not None
    assert request.failure.kind == BAD_MESSAGES


def test_unknown_column_is_refused_by_its_option() -> None:
    with pytest.raises(BadRequest, match="--image image: the input has no such column"):
        Renderer(PromptSpec(image_columns=("image",)), Sampling(), ["prompt", "picture"])


def test_batch_request_lines_take_no_parts() -> None:
    lines = BatchLines(urls=("/v1/chat/completions",))

    with pytest.raises(BadRequest, match="put images, sound and videos in their messages"):
        Renderer(
            PromptSpec(image_columns=("image",)), Sampling(), ["body", "image"], requests=lines
        )


def test_parts_are_ordered_images_audio_videos() -> None:
    prompt = PromptSpec(
        template="x", video_columns=("v",), audio_columns=("a",), image_columns=("i", "j")
    )
    columns = {"i": [png()], "j": [png()], "a": [wav()], "v": [mp4()]}
    renderer = Renderer(prompt, Sampling(), list(columns))

    [request] = renderer.bodies("m", 0, columns, 1)

    [message] = orjson.loads(request.body)["messages"]
    kinds = [part["type"] for part in message["content"]]
    assert kinds == ["text", "image_url", "image_url", "audio_url", "video_url"]
