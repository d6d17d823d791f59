"""Damage of an input that is found before anything was created: a wrong request."""

from collections.abc import Iterator
from contextlib import contextmanager

from mayfly.models.errors import BadRequest, TerminalError


@contextmanager
def as_wrong_request(name: str) -> Iterator[None]:
    """Raise BadRequest for what cannot be read of an input within the block.

    Args:
        name: What errors call the input.
    """
    try:
        yield
    except TerminalError as error:
        raise BadRequest(str(error)) from error
    except UnicodeDecodeError as error:
        raise BadRequest(
            f"input {name} has a column name that is not UTF-8; rename the column"
        ) from error
