"""File work that nobody waits for longer than a set time: a disk may hang for ever."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue


class BoundedWork:
    """Does work in threads of their own, each waited for a set time only.

    After work that did not end, nothing more is begun until it has: a thread in a hung call cannot
    be ended, and one is enough.

    Args:
        most_s: How long work may take, in seconds.
    """

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._hung: threading.Thread | None = None

    def do(self, work: Callable[[], object]) -> None:
        """Do work and return when it is done; its errors are raised here.

        Raises:
            TimeoutError: It is not done in time, or earlier work is still hanging.
        """
        if self._hung is not None and self._hung.is_alive():
            raise TimeoutError("earlier file work still hangs")
        ended: SimpleQueue[BaseException | None] = SimpleQueue()

        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised where the work was asked for
                ended.put(error)
            else:
                ended.put(None)

        thread = threading.Thread(target=run, name="bounded file work", daemon=True)
        thread.start()
        try:
            error = ended.get(timeout=self._most_s)
        except Empty:
            self._hung = thread
            raise TimeoutError(f"not done within {self._most_s:.0f} s") from None
        if error is not None:
            raise error
