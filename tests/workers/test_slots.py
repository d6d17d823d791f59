"""One limit over several processes: slots in use never exceed it, and idle slots are lent."""

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from mayfly.workers.slots import OVERLOAD, Share, SlotAllowance, SlotShares, fair

WANTED = st.lists(st.integers(0, 300), min_size=1, max_size=6)


@given(slots=st.integers(0, 500), wanted=WANTED)
def test_slots_follow_demand_and_are_shared_fairly(slots: int, wanted: list[int]) -> None:
    got = fair(slots, wanted)

    assert sum(got) == min(slots, sum(wanted))
    for mine, need in zip(got, wanted, strict=True):
        assert 0 <= mine <= need
        if mine < need:
            assert mine >= max(got) - 1


class Dispatcher:
    """A process that sends: takes shares and says what it does, each in its own time."""

    def __init__(self) -> None:
        self.allowance = SlotAllowance(collects=False)
        self.inbox: deque[Share] = deque()
        self.outbox: deque[dict[str, int]] = deque()
        self.in_flight = self.rows = 0

    def send(self) -> None:
        more = min(self.rows, max(0, self.allowance.limit - self.in_flight))
        self.in_flight += more
        self.rows -= more

    def land(self, count: int) -> None:
        self.in_flight -= min(count, self.in_flight)
        self.send()

    def listen(self) -> None:
        if self.inbox:
            self.allowance.take(self.inbox.popleft())
            self.send()

    def log(self) -> None:
        self.outbox.append(
            {"taken": self.allowance.taken, "in_flight": self.in_flight, "waiting": self.rows}
        )


class SimulatedWorkers:
    """Senders and the pool that shares slots out, with messages in flight between them."""

    def __init__(self, senders: int, limit: int) -> None:
        self.shares, self.limit = SlotShares(), limit
        self.senders = {number: Dispatcher() for number in range(senders)}
        for number in self.senders:
            self.shares.joined(number)

    @property
    def in_flight(self) -> int:
        return sum(sender.in_flight for sender in self.senders.values())

    def receive(self, number: int) -> None:
        sender = self.senders[number]
        if sender.outbox:
            self.shares.reported(number, **sender.outbox.popleft(), more=sender.rows > 0)
        self.share_out()

    def share_out(self) -> None:
        for announced, share in self.shares.share_out(self.limit).items():
            self.senders[announced].inbox.append(share)

    def settle(self) -> None:
        """Deliver all messages in flight, repeatedly."""
        for _ in range(40):
            for number, sender in self.senders.items():
                while sender.inbox:
                    sender.listen()
                sender.send()
                sender.log()
                while sender.outbox:
                    self.receive(number)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("rows"), st.integers(0, 3), st.integers(0, 90)),
        st.tuples(st.just("land"), st.integers(0, 3), st.integers(0, 30)),
        st.tuples(st.just("listen"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("say"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("receive"), st.integers(0, 3), st.just(0)),
    ),
    max_size=120,
)


def apply_steps(workers: SimulatedWorkers, steps: list[tuple[str, int, int]]) -> None:
    workers.share_out()
    for what, number, count in steps:
        sender = workers.senders[number % len(workers.senders)]
        match what:
            case "rows":
                sender.rows += count
                sender.send()
            case "land":
                sender.land(count)
            case "listen":
                sender.listen()
            case "say":
                sender.log()
            case _:
                workers.receive(number % len(workers.senders))
        assert workers.in_flight <= workers.limit


@settings(max_examples=150, deadline=None)
@given(limit=st.integers(1, 60), senders=st.integers(1, 4), steps=STEPS)
def test_slots_in_use_never_exceed_the_limit_under_any_delay(
    limit: int, senders: int, steps: list[tuple[str, int, int]]
) -> None:
    apply_steps(SimulatedWorkers(senders, limit), steps)


@settings(max_examples=100, deadline=None)
@given(limit=st.integers(1, 60), senders=st.integers(1, 4), steps=STEPS)
def test_slots_are_all_in_use_once_messages_have_arrived(
    limit: int, senders: int, steps: list[tuple[str, int, int]]
) -> None:
    workers = SimulatedWorkers(senders, limit)
    apply_steps(workers, steps)

    workers.settle()
    for sender in workers.senders.values():
        sender.land(sender.in_flight)
    workers.settle()

    left = sum(sender.rows for sender in workers.senders.values())
    assert workers.in_flight == limit or left == 0
    assert workers.in_flight <= limit


def test_slots_of_an_idle_worker_are_lent_and_returned() -> None:
    workers = SimulatedWorkers(2, 10)
    one, other = workers.senders[0], workers.senders[1]
    one.rows = other.rows = 100
    workers.settle()
    # The first sender has all of them until some requests have ended.
    one.land(5)
    workers.settle()
    assert (one.in_flight, other.in_flight) == (5, 5)

    one.rows = 0
    one.land(3)
    workers.settle()
    assert (one.in_flight, other.in_flight) == (2, 8)

    one.rows = 100
    workers.settle()
    assert workers.in_flight == 10
    other.land(8)
    workers.settle()
    assert (one.in_flight, other.in_flight) == (5, 5)


def test_slots_of_a_dead_worker_go_to_the_others() -> None:
    workers = SimulatedWorkers(2, 7)
    for sender in workers.senders.values():
        sender.rows = 50
    workers.settle()

    workers.shares.left(0)
    del workers.senders[0]
    workers.share_out()
    workers.settle()

    assert workers.senders[1].in_flight == 7


def test_unresponsive_worker_does_not_block_the_others() -> None:
    workers = SimulatedWorkers(2, 40)
    deaf, other = workers.senders[0], workers.senders[1]
    workers.share_out()
    for turn in range(100):
        other.rows = 50 * (turn % 2)
        while other.inbox:
            other.listen()
        other.land(other.in_flight)
        other.log()
        workers.receive(1)

    assert len(deaf.inbox) <= 8
    assert workers.in_flight <= 40


def test_measurements_of_a_worker_are_kept_for_the_run() -> None:
    allowance = SlotAllowance(collects=True)
    allowance.take(Share(3, 12))

    allowance.answered(1.0, latency_s=0.5, in_flight=12, work=7.0)
    allowance.overloaded(2.0, in_flight=11)

    assert (allowance.limit, allowance.taken) == (12, 3)
    assert allowance.samples() == [(0.5, 12, 7.0), (OVERLOAD, 11, 0.0)]
    assert allowance.samples() == []


def test_slots_of_a_lost_worker_are_held_until_its_requests_end() -> None:
    shares = SlotShares()
    for process in (1, 2):
        shares.joined(process)
        shares.reported(process, taken=0, in_flight=0, waiting=100, more=True)
    first = shares.share_out(10)
    for process in (1, 2):
        shares.reported(process, taken=first[process].number, in_flight=5, waiting=95, more=True)

    shares.lost(1)
    assert not shares.share_out(10)

    shares.left(1)
    assert shares.share_out(10)[2].slots == 10


def test_slots_of_unwritten_answers_count_as_used() -> None:
    valid = True
    allowance = SlotAllowance(collects=False, valid=lambda: valid)
    allowance.take(Share(1, 8))

    allowance.unwritten += 3
    assert allowance.limit == 5

    allowance.written(3)
    assert allowance.limit == 8

    valid = False
    assert allowance.limit == 0
