"""Secrets that a server returns are masked; other text is unchanged."""

from mayfly.models.errors import TerminalError
from mayfly.models.secrets import secrets_of, without_secrets
from mayfly.models.texts import printable

KEY = "tgp_v1_0123456789"


def test_key_is_masked_with_or_without_its_scheme() -> None:
    secrets = secrets_of({"Authorization": f"Bearer {KEY}", "X-Team": "a-long-team-token"})

    clean = without_secrets(f'{{"a": "Bearer {KEY}", "b": "{KEY}"}}'.encode(), secrets)

    assert clean == b'{"a": "Bearer [masked]", "b": "[masked]"}'


def test_body_without_secrets_is_the_same_object() -> None:
    body = b"{}"

    assert without_secrets(body, secrets_of({"Authorization": f"Bearer {KEY}"})) is body


def test_short_values_and_public_headers_are_not_masked() -> None:
    assert secrets_of({"Authorization": "Bearer local", "User-Agent": "Together/Python 3"}) == ()


def test_control_characters_of_foreign_text_are_removed() -> None:
    text = "\x1b]0;owned\x07\x1b[2J\r\nbad\x9b31m request"

    assert not set(printable(text)) & {"\x1b", "\x07", "\r", "\n", "\x9b"}
    assert "\x1b" not in str(TerminalError(text))
