"""Generate identifiers in the format of the real ones, determined by the seed."""

import random
import string

_ALPHABET = string.ascii_letters + string.digits


class Ids:
    """Generates ids; the only randomness of a server besides the chance of faults."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - names, not secrets

    def new(self, prefix: str) -> str:
        """Return `<prefix>_` and 22 letters and digits."""
        return f"{prefix}_{''.join(self._random.choices(_ALPHABET, k=22))}"

    def etag(self) -> str:
        """Return a new version tag."""
        return f"{self._random.getrandbits(64):016x}"

    def uuid(self) -> str:
        """Return a random UUID as text."""
        bits = f"{self._random.getrandbits(128):032x}"
        return "-".join((bits[:8], bits[8:12], bits[12:16], bits[16:20], bits[20:]))
