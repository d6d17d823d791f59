"""Images, videos and audio in a request."""

import base64
import struct
from typing import Any

import pytest

from tests.support.emulator_client import EmulatorClient, code, message
from together_emulator.inference.media import image_size

VISION = "Qwen/Qwen3-VL-8B-Instruct"
OMNI = "Qwen/Qwen2.5-Omni-7B"


def png(width: int, height: int) -> bytes:
    """Return the header of a PNG, which has its size."""
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + b"\x08\x02\0\0\0"


def jpeg(width: int, height: int) -> bytes:
    """Return the beginning of a JPEG: a comment, then the frame with its size."""
    comment = b"\xff\xfe" + struct.pack(">H", 6) + b"made"
    return b"\xff\xd8" + comment + b"\xff\xc0" + struct.pack(">HBHH", 17, 8, height, width)


def data_url(raw: bytes, mime: str = "image/png") -> str:
    """Return a data URL."""
    return f"data:{mime};base64,{base64.b64encode(raw).decode()}"


def messages(*urls: str, kind: str = "image_url") -> list[dict[str, Any]]:
    """Return a question about some content."""
    parts = [{"type": kind, kind: {"url": url}} for url in urls]
    return [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, *parts]}]


def serve(api: EmulatorClient, model: str) -> str:
    """Serve a model; returns the endpoint's name."""
    name: str = api.serve(profile=api.profile(model))[0]["name"]
    return name


def prompt_tokens(api: EmulatorClient, name: str, messages_of_user: list[dict[str, Any]]) -> int:
    """Return what a request is counted as."""
    answer = api.chat(name, messages=messages_of_user)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["usage"]["prompt_tokens"])


def test_image_costs_tokens_by_its_size(api: EmulatorClient) -> None:
    name = serve(api, VISION)
    text_only = prompt_tokens(api, name, messages())

    small = prompt_tokens(api, name, messages(data_url(png(280, 280))))
    large = prompt_tokens(api, name, messages(data_url(png(560, 560))))

    assert small - text_only == 100
    assert large - text_only == 400


def test_image_by_https_is_accepted_without_fetch(api: EmulatorClient) -> None:
    name = serve(api, VISION)

    tokens = prompt_tokens(api, name, messages("https://example.invalid/cat.jpg"))

    assert tokens > 1_000


def test_several_images_are_counted_each(api: EmulatorClient) -> None:
    name = serve(api, VISION)
    url = data_url(png(280, 280))

    one, two = (prompt_tokens(api, name, messages(*[url] * n)) for n in (1, 2))

    assert two - one == 100


def test_answer_is_deterministic_for_its_image(api: EmulatorClient) -> None:
    name = serve(api, VISION)

    answers = {
        api.chat(name, messages=messages(data_url(png(28, side))), temperature=0).json()["choices"][
            0
        ]["message"]["content"]
        for side in (28, 56, 28)
    }

    assert len(answers) == 2


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("video_url", data_url(b"\0" * 900, "video/mp4")),
        ("video_url", "https://example.invalid/film.mp4"),
        ("audio_url", data_url(b"RIFF\0\0\0\0WAVEfmt " + b"\0" * 100, "audio/wav")),
        ("audio_url", "https://example.invalid/voice.mp3"),
    ],
)
def test_video_and_audio_are_accepted_by_a_model_that_takes_them(
    api: EmulatorClient, kind: str, url: str
) -> None:
    name = serve(api, OMNI)

    assert prompt_tokens(api, name, messages(url, kind=kind)) > prompt_tokens(api, name, messages())


def test_audio_costs_tokens_by_its_length(api: EmulatorClient) -> None:
    name = serve(api, OMNI)
    head = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHII", 1, 1, 16_000, 32_000)

    one, three = (
        prompt_tokens(
            api,
            name,
            messages(data_url(head + b"\0" * (32_000 * s), "audio/wav"), kind="audio_url"),
        )
        for s in (1, 3)
    )

    assert three - one == 50


@pytest.mark.parametrize(
    ("model", "kind", "url"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "image_url", data_url(png(28, 28))),
        (VISION, "audio_url", data_url(b"x", "audio/wav")),
    ],
)
def test_content_that_the_model_cannot_read_is_refused(
    api: EmulatorClient, model: str, kind: str, url: str
) -> None:
    refused = api.chat(serve(api, model), messages=messages(url, kind=kind))

    assert code(refused) == (400, "invalid_argument")
    assert kind.removesuffix("_url") in message(refused)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/hostname",
        "cat.png",
        "data:image/png,abc",
        "data:image/png;base64,???",
        "data:image/png;base64,",
        "data:audio/wav;base64,AAAA",
        "",
    ],
)
def test_url_of_another_kind_is_refused(api: EmulatorClient, url: str) -> None:
    assert code(api.chat(serve(api, VISION), messages=messages(url)))[0] == 400


def test_part_without_an_object_is_refused(api: EmulatorClient) -> None:
    part = {"type": "image_url", "image_url": "https://example.invalid/cat.jpg"}
    messages_of_user = [{"role": "user", "content": [part]}]

    assert code(api.chat(serve(api, VISION), messages=messages_of_user))[0] == 400


def test_image_beyond_the_context_is_refused(api: EmulatorClient) -> None:
    name = serve(api, VISION)
    huge = data_url(png(4_000, 4_000))

    assert code(api.chat(name, messages=messages(*[huge] * 5))) == (400, "context_length_exceeded")


def test_catalogue_says_what_a_model_reads(api: EmulatorClient) -> None:
    listed = {m["name"]: m for m in api.http.get("/v2/supported-models").json()["data"]}
    seeing = api.http.get("/v2/supported-models", params={"modality": "MODALITY_IMAGE"}).json()

    assert "MODALITY_AUDIO" in listed[OMNI]["inputModalities"]
    assert {m["name"] for m in seeing["data"]} == {VISION, OMNI}


@pytest.mark.parametrize(
    ("raw", "size"),
    [
        (png(3, 4), (3, 4)),
        (jpeg(640, 480), (640, 480)),
        (b"GIF89a" + struct.pack("<HH", 7, 9), (7, 9)),
        (b"\x89PNG\r\n\x1a\n", None),
        (b"\xff\xd8\xff", None),
        (b"RIFFxxxxWEBP", None),
    ],
)
def test_image_size_is_read_from_the_header(raw: bytes, size: tuple[int, int] | None) -> None:
    assert image_size(raw) == size
