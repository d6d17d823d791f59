"""Identifiers that look like the real ones and are the same for the same seed."""

import random
import string

_ALPHABET = string.ascii_letters + string.digits


class Ids:
    """Makes ids; the only randomness of a server besides faults by chance."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - names, not secrets

    def new(self, prefix: str) -> str:
        """Return `<prefix>_` and 22 letters and digits."""
        return f"{prefix}_{''.join(self._random.choices(_ALPHABET, k=22))}"

    def etag(self) -> str:
        """Return a version tag that was never given before."""
        return f"{self._random.getrandbits(64):016x}"

    def uuid(self) -> str:
        """Return a random UUID's spelling."""
        bits = f"{self._random.getrandbits(128):032x}"
        return "-".join((bits[:8], bits[8:12], bits[12:16], bits[16:20], bits[20:]))
