"""The channel between a run and a worker: whole messages, and sends that do not wait."""

import threading
from multiprocessing import Pipe
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


def test_send_all_waits_for_the_reader() -> None:
    near, far = Pipe()
    with near, far:
        sender, reader = Channel(near), Channel(far)
        thread = threading.Thread(target=sender.send_all, args=(BIG,))
        thread.start()

        assert receive(reader, 1) == [BIG]
        thread.join()


def test_closed_channel_leaves_its_descriptor_alone() -> None:
    near, far = Pipe()
    with near, far:
        channel = Channel(near)
        channel.close()

        assert channel.send("late")
        channel.send_all("late")
        assert not far.poll()


def test_receive_after_the_other_end_closed_raises_eof() -> None:
    near, far = Pipe()
    with near:
        channel = Channel(near)
        far.close()
        with pytest.raises(EOFError):
            channel.receive()
