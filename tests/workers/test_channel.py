"""The channel between a run and a worker: whole messages, and sends that do not wait."""

import os
import resource
import threading
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from mayfly.workers.channel import Channel
from tests.support.wait import wait_until

BIG = b"x" * 2**22
"""More than a socket holds."""


def receive(channel: Channel, number: int) -> list[Any]:
    messages: list[Any] = []

    def arrived() -> bool:
        messages.extend(channel.receive())
        return len(messages) >= number

    wait_until(arrived, f"{number} messages")
    return messages


def test_messages_of_a_connection_arrive_whole_and_in_order() -> None:
    near, far = Pipe()
    with near, far:
        channel = Channel(near)
        threading.Thread(target=lambda: [*map(far.send, (1, BIG, "end"))]).start()

        assert receive(channel, 3) == [1, BIG, "end"]
        assert channel.receive() == []


def test_send_without_a_reader_returns_and_flush_sends_the_rest() -> None:
    near, far = Pipe()
    with near, far:
        channel = Channel(near)
        assert channel.send("first")
        assert not channel.send(BIG)
        assert not channel.send("last")

        received: list[Any] = []
        reader = threading.Thread(target=lambda: received.extend(far.recv() for _ in range(3)))
        reader.start()
        wait_until(channel.flush, "everything sent")
        reader.join()
        assert received == ["first", BIG, "last"]


def test_closed_channel_ends_both_ends_and_sends_nothing() -> None:
    near, far = Pipe()
    with near, far:
        channel = Channel(near)
        channel.send(BIG)
        channel.close()

        assert channel.send("late")
        assert channel.flush()
        with pytest.raises(EOFError):
            channel.receive()
        with pytest.raises(OSError, match="end of file"):
            far.recv()


def test_channel_of_a_closed_connection_still_has_its_own_descriptor() -> None:
    near, far = Pipe()
    channel = Channel(near)
    near.close()
    # Takes the number that the connection had.
    with far, Path(os.devnull).open("rb"):
        assert channel.send("first")
        assert far.recv() == "first"
        channel.close()
        with pytest.raises(EOFError):
            channel.receive()


def test_channel_closes_when_no_more_files_can_be_opened() -> None:
    near, far = Pipe()
    with near, far:
        channel = Channel(near)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            channel.close()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        with pytest.raises(EOFError):
            far.recv()


def test_receive_after_the_other_end_closed_raises_eof() -> None:
    near, far = Pipe()
    with near:
        channel = Channel(near)
        far.close()
        with pytest.raises(EOFError):
            channel.receive()
