"""Background threads that do not fail silently."""

import threading
from collections.abc import Callable

from mayfly.models.errors import MayflyError, as_mayfly_error


def in_background(
    function: Callable[[], object], *, name: str, failed: Callable[[MayflyError], object]
) -> threading.Thread:
    """Run a function in a daemon thread; return the thread.

    Args:
        failed: Called with what the function raises: others may wait for what it does.
    """

    def run() -> None:
        try:
            function()
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody else sees it
            failed(as_mayfly_error(error, name))

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
