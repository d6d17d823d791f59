"""What passes between the threads that feed the engine and its loop."""

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from tasks.core.rows import NOTHING, Answer, RowRequest, Tally


class Snapshot(NamedTuple):
    """What the engine is doing now."""

    in_flight: int
    limit: int
    waiting: int
    retries: int
    tally: Tally


ReadReply = Callable[[int, memoryview, int, float], Answer]
"""(row, body of a 200, attempts, latency in seconds) -> answer; raises Unreadable."""


class Row:
    """A row on its way: its body, and what has happened to it."""

    __slots__ = ("attempts", "body", "row", "stream")

    def __init__(self, stream: "Stream", request: RowRequest) -> None:
        self.stream = stream
        self.row, self.body = request.row, request.body
        self.attempts = 0


class Stream:
    """One call of `answer`: rows waiting to be sent, answers waiting to be recorded."""

    __slots__ = ("answers", "arrived", "tally", "waiting")

    def __init__(self) -> None:
        # Ends of a deque can be used from two threads without a lock.
        self.waiting: deque[Row] = deque()
        self.answers: deque[Answer] = deque()
        self.arrived = threading.Event()
        self.tally = NOTHING
