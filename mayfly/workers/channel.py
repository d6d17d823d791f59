"""Messages between a run and a worker over one end of a connection.

The frames are those of `multiprocessing.connection.Connection`, which the other end may be. One
read takes many messages. No send waits: it leaves what does not fit to `flush`.
"""

import os
import pickle
import socket
import struct
import threading
import weakref
from collections import deque
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Protocol

READ_BYTES = 256 * 2**10
"""Maximum size of one read."""

_SIZE, _LARGE_SIZE = struct.Struct("!i"), struct.Struct("!iQ")
_MAX_SIZE = 0x7FFF_FFFF


class Channel:
    """One end of a connection; one thread receives, any thread sends.

    Args:
        connection: No longer blocks. It may be closed before the channel is: the channel has a
            descriptor of its own, which stays open while any thread has the channel.
    """

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self._file = os.dup(connection.fileno())
        weakref.finalize(self, os.close, self._file)
        os.set_blocking(self._file, False)
        self._received = bytearray()
        self._sending = threading.Lock()
        self._unsent = deque[memoryview]()
        self._closed = False

    def fileno(self) -> int:
        """Return the descriptor that is readable when messages arrive."""
        return self._file

    def receive(self) -> list[Any]:
        """Return the messages that have arrived; do not wait for any.

        Raises:
            EOFError, OSError: The other end is gone, or either end was closed.
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
        frame = memoryview(_frame(message))
        with self._sending:
            if self._closed:
                return True
            self._unsent.append(frame)
            return len(self._unsent) == 1 and self._write()

    def flush(self) -> bool:
        """Send what is left of earlier messages without waiting; return whether that is all.

        Raises:
            OSError: The other end is gone.
        """
        with self._sending:
            return self._closed or self._write()

    def close(self) -> None:
        """End the connection for both sides, also for a thread that waits for it."""
        with self._sending:
            self._closed = True
            self._unsent.clear()
        shut_down(self)

    def _write(self) -> bool:
        with suppress(BlockingIOError):
            while self._unsent:
                frame = self._unsent[0]
                sent = os.write(self._file, frame)
                if sent < len(frame):
                    self._unsent[0] = frame[sent:]
                else:
                    self._unsent.popleft()
        return not self._unsent


class HasFileno(Protocol):
    """A connection, by its descriptor."""

    def fileno(self) -> int:
        """Return the descriptor."""


def shut_down(connection: HasFileno) -> None:
    """End a connection for both sides, also for a thread that reads from it.

    Closing alone would leave that thread waiting, on a number that is soon another file's.
    """
    # No duplicate of the descriptor: it must end also when no more files can be opened.
    end = socket.socket(fileno=connection.fileno())
    try:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    finally:
        end.detach()


def _frame(message: object) -> bytes:
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    size = len(data)
    header = _SIZE.pack(size) if size <= _MAX_SIZE else _LARGE_SIZE.pack(-1, size)
    return header + data
