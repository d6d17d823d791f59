"""Read remote files that cells name before their rows are rendered, several at a time.

A file behind a network takes tens of milliseconds: read one by one, they would keep an endpoint
waiting while it bills.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue

PrepareFile = Callable[[str, int], Callable[[], bytes] | None]
"""(path or URI, most bytes) -> what reads it, in any thread; None where that is fast or fails."""

AHEAD_FILES = 32
AHEAD_BYTES = 64 * 2**20
"""About the maximum total size of files that are read before they are needed."""

_Read = tuple["Future[bytes]", Callable[[], bytes]]


class FilesAhead:
    """Reads files in the order of their names, up to `AHEAD_FILES` before they are needed."""

    def __init__(
        self,
        names: Iterator[str],
        read: Callable[[str, int], bytes],
        prepare: PrepareFile,
        most: int,
    ) -> None:
        """Begin nothing yet: the first read does.

        Args:
            names: Of the files, in the order in which they will be read.
            read: Reads a file that was not read ahead.
            most: Bytes that a file may have.
        """
        self._names, self._read, self._prepare, self._most = names, read, prepare, most
        self._ahead: deque[tuple[str, Future[bytes]]] = deque()
        self._work: SimpleQueue[_Read | None] = SimpleQueue()
        self._threads = 0
        self._largest = AHEAD_BYTES // 4

    def read(self, name: str, most: int) -> bytes:
        """Return the content of a file; ValueError with the reason where it cannot be had."""
        self._fill()
        # A row that failed before its file was needed leaves it behind.
        while self._ahead and self._ahead[0][0] != name:
            if all(other != name for other, _ in self._ahead):
                return self._read(name, most)
            self._ahead.popleft()
        if not self._ahead:
            return self._read(name, most)
        content = self._ahead.popleft()[1].result()
        self._largest = max(len(content), min(self._largest, AHEAD_BYTES // AHEAD_FILES))
        return content

    def close(self) -> None:
        """End the threads; what they are reading is thrown away."""
        self._ahead.clear()
        for _ in range(self._threads):
            self._work.put(None)

    def _fill(self) -> None:
        room = max(1, min(AHEAD_FILES, AHEAD_BYTES // max(self._largest, 1)))
        while len(self._ahead) < room:
            name = next(self._names, None)
            if name is None:
                return
            try:
                call = self._prepare(name, self._most)
            except ValueError:
                continue  # The row says why, when it is rendered.
            if call is None:
                continue
            future: Future[bytes] = Future()
            self._ahead.append((name, future))
            self._work.put((future, call))
            if self._threads < len(self._ahead):
                self._threads += 1
                # Daemons: a store that hangs does not keep the process.
                threading.Thread(target=_reads, args=(self._work,), daemon=True).start()


def _reads(work: "SimpleQueue[_Read | None]") -> None:
    while (task := work.get()) is not None:
        future, call = task
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where the file is needed
            future.set_exception(error)
