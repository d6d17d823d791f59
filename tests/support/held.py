"""Something that another thread holds: a lock, a turn, a call that does not return."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager


@contextmanager
def held_elsewhere(context: AbstractContextManager[object]) -> Iterator[None]:
    """Let another thread be inside a context while the block lasts."""
    entered, over = threading.Event(), threading.Event()

    def hold() -> None:
        with context:
            entered.set()
            over.wait()

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    entered.wait()
    try:
        yield
    finally:
        over.set()
        holder.join()
