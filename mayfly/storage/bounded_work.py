"""File operations with a time limit, because a disk may hang for ever."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue


class BoundedWork:
    """Runs operations in their own threads, and waits for each for a limited time.

    While an operation hangs, no other is started: a hung thread cannot be ended, and one is enough.

    Args:
        most_s: Time limit of an operation, in seconds.
    """

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._hung: threading.Thread | None = None

    def do(self, work: Callable[[], object]) -> None:
        """Run an operation and wait for it; its exceptions are raised here.

        Raises:
            TimeoutError: It did not finish in time, or an earlier operation still hangs.
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
            raise TimeoutError(f"not finished within {self._most_s:.0f} s") from None
        if error is not None:
            raise error
