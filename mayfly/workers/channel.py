"""Messages between a run and a worker over one end of a connection.

The frames are those of `multiprocessing.connection.Connection`, which the other end may be. One
read takes many messages, and a sender that must not wait leaves what does not fit to `flush`.
"""

import os
import pickle
import select
import struct
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

READ_BYTES = 256 * 2**10
"""Maximum size of one read."""

_SIZE, _LARGE_SIZE = struct.Struct("!i"), struct.Struct("!iQ")
_MAX_SIZE = 0x7FFF_FFFF


class Channel:
    """One end of a connection; one thread receives, any thread sends.

    Args:
        connection: Its file descriptor is used until `close`, and no longer blocks.
    """

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self._file = connection.fileno()
        os.set_blocking(self._file, False)
        self._received = bytearray()
        self._sending = threading.Lock()
        self._unsent = memoryview(b"")
        self._closed = False

    def fileno(self) -> int:
        """Return the descriptor that is readable when messages arrive."""
        return self._file

    @property
    def has_unsent(self) -> bool:
        """Whether a message is waiting for `flush`."""
        return bool(self._unsent)

    def receive(self) -> list[Any]:
        """Return the messages that have arrived; do not wait for any.

        Raises:
            EOFError, OSError: The other end is gone.
        """
        try:
            data = os.read(self._file, READ_BYTES)
        except BlockingIOError:
            return []
        if not data:
            raise EOFError
        received = self._received
        received += data
        messages, at = [], 0
        while len(received) >= at + _SIZE.size:
            size, start = *_SIZE.unpack_from(received, at), at + _SIZE.size
            if size < 0:
                if len(received) < at + _LARGE_SIZE.size:
                    break
                (_, size), start = _LARGE_SIZE.unpack_from(received, at), at + _LARGE_SIZE.size
            if len(received) < start + size:
                break
            at = start + size
            messages.append(pickle.loads(received[start:at]))  # noqa: S301 - from our own process
        del received[:at]
        return messages

    def send(self, message: object) -> bool:
        """Send a message without waiting; return whether the other end has room for all of it.

        The rest is sent by `flush`. Does nothing once the channel is closed.

        Raises:
            OSError: The other end is gone.
        """
        frame = _frame(message)
        with self._sending:
            if self._closed:
                return True
            if not self._unsent:
                self._unsent = memoryview(frame)
                return self._write()
            self._unsent = memoryview(bytes(self._unsent) + frame)
            return False

    def send_all(self, message: object) -> None:
        """Send a message; wait until the other end has room for it.

        Only for a thread on which the other end does not depend for reading.

        Raises:
            OSError: The other end is gone.
        """
        frame = _frame(message)
        with self._sending:
            self._unsent = memoryview(frame)
            while not (self._closed or self._write()):
                poll = select.poll()
                poll.register(self._file, select.POLLOUT)
                poll.poll()

    def flush(self) -> bool:
        """Send what is left of earlier messages without waiting; return whether that is all.

        Raises:
            OSError: The other end is gone.
        """
        with self._sending:
            return self._closed or self._write()

    def close(self) -> None:
        """Send nothing more: the file descriptor may be another file's from now on."""
        with self._sending:
            self._closed = True
            self._unsent = memoryview(b"")

    def _write(self) -> bool:
        with suppress(BlockingIOError):
            while self._unsent:
                self._unsent = self._unsent[os.write(self._file, self._unsent) :]
        return not self._unsent


def _frame(message: object) -> bytes:
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    size = len(data)
    header = _SIZE.pack(size) if size <= _MAX_SIZE else _LARGE_SIZE.pack(-1, size)
    return header + data
