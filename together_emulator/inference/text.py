"""Generate the emulated model's text, which is determined by the prompt."""

import hashlib
import re

_WORDS = """
the a of and to in is that for on with as it this by from at or an be are was which not has
have its their can more one all will also other than then these those most some many each
both between over under after before while when where because since until through about
around across along into within without against toward among during per via new early late
large small long short high low first last next same different simple clear common rare
useful likely possible certain general specific local global public open free full whole
strong light deep wide fast slow steady careful direct plain
answer question reason result effect cause change growth value price cost time year day month
week hour minute place city country region market company team group person people user
customer product service system model method process step plan project task data text word
sentence story report note list table figure number rate share part side point line path
form shape state level range limit order rule test case example detail summary view idea
fact claim source record review paper study field area topic subject issue problem risk
quality speed size weight energy power heat water air land sea river road bridge house school
book music film game language history science art law health food plant animal tree garden
weather winter summer morning evening light sound colour picture
gives takes makes keeps finds shows says means needs uses adds moves holds brings leads
follows begins ends grows falls rises runs works helps opens closes sends reads writes learns
compares describes explains suggests supports improves reduces remains depends
"""
_TOKENS = tuple(f" {word}" for word in _WORDS.split())[:256]


def seed_of(*parts: bytes) -> bytes:
    """Return the seed of an answer; equal parts give equal answers."""
    return hashlib.blake2b(b"\0".join(parts), digest_size=16).digest()


def answer_tokens(seed: bytes, shortest: int, longest: int) -> list[str]:
    """Return an answer as tokens: words with a leading space, and full stops.

    Args:
        seed: From `seed_of`.
        shortest, longest: Range of the length; short answers are more frequent.
    """
    low = min(seed[0] | seed[1] << 8, seed[2] | seed[3] << 8)
    length = shortest + (longest - shortest) * low // 65536
    stream = hashlib.shake_128(seed).digest(length)
    count = len(_TOKENS)
    tokens = [_TOKENS[byte % count] for byte in stream]
    for end in range(7 + seed[4] % 7, length - 1, 9 + seed[5] % 7):
        tokens[end] = "."
        tokens[end + 1] = f" {tokens[end + 1][1:].capitalize()}"
    tokens[0] = tokens[0][1:].capitalize()
    tokens[-1] = "."
    return tokens


_PIECE = re.compile(r"\s?\w{1,6}|\s?[^\w\s]|\s+")


def pieces(text: str) -> list[str]:
    """Split a text into pieces that count as tokens; joined they are the text."""
    return _PIECE.findall(text)


def token_count(text: str) -> int:
    """Return an estimate of a prompt's tokens: one per four characters."""
    return (len(text) + 3) // 4
