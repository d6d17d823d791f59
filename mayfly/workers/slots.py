"""Share one concurrency limit among the processes that send requests.

`SlotShares` distributes the limit; a `SlotAllowance` is the part of one process. Both are pure. A
slot belongs to one process at a time: it moves to another only once the first has confirmed the
release. So the processes together never exceed the limit, however long messages take.

Shares are equal, but no larger than needed: slots that a process cannot use go to the others at
once (max-min fairness). Source: D. Bertsekas and R. Gallager, "Data Networks", 2nd edition, 1992,
section 6.5.2.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mayfly.inference.concurrency import CEILING, Source

MAX_UNCONFIRMED = 8
"""Shares announced to one process without confirmation; beyond this, no further ones are sent."""

Sample = tuple[float, int, float]
"""An answer: latency in seconds, requests in flight when it arrived, work. A latency of `OVERLOAD`
marks back-pressure with the number still in flight, and `LIFTED` its end."""

OVERLOAD = -1.0
LIFTED = -2.0


class Share(NamedTuple):
    """The slots that a process may use from now on; `number` counts up from 1."""

    number: int
    slots: int


def fair(slots: int, wanted: Sequence[int]) -> list[int]:
    """Return the slots of each process: equal shares, but none larger than wanted.

    They add up to `slots`, or to the sum of `wanted` if that is less. A remainder goes to the
    processes that want most, and among equals to the first.
    """
    got = [0] * len(wanted)
    left = slots
    by_need = sorted(range(len(wanted)), key=lambda one: (min(wanted[one], slots), -one))
    for rank, one in enumerate(by_need):
        got[one] = min(wanted[one], left // (len(wanted) - rank))
        left -= got[one]
    return got


@dataclass(slots=True)
class _Holder:
    """What is known of a process.

    Attributes:
        announced: Shares that it may be using: the last confirmed one, and those sent after it.
    """

    announced: deque[Share] = field(default_factory=lambda: deque([Share(0, 0)]))
    in_flight: int = 0
    wanted: int = 0
    more: bool = False

    @property
    def held(self) -> int:
        """The most requests that it may have in flight now."""
        return max(self.in_flight, *(share.slots for share in self.announced))


class SlotShares:
    """Distributes a limit among processes, which are identified by number."""

    def __init__(self) -> None:
        self._holders: dict[int, _Holder] = {}
        self._reserved: dict[int, int] = {}

    @property
    def in_flight(self) -> int:
        """Requests in flight of all processes, as last reported."""
        return sum(holder.in_flight for holder in self._holders.values())

    def joined(self, process: int) -> None:
        """Add a process without requests in flight."""
        self._holders[process] = _Holder()

    def left(self, process: int) -> None:
        """Remove a process that has ended, with its requests in flight."""
        self._holders.pop(process, None)
        self._reserved.pop(process, None)

    def lost(self, process: int) -> None:
        """Reserve the slots of a lost process, which may still have requests in flight.

        They are not distributed until `left`.
        """
        if (holder := self._holders.pop(process, None)) is not None:
            self._reserved[process] = holder.held

    def reported(
        self, process: int, *, taken: int, in_flight: int, waiting: int, more: bool
    ) -> None:
        """Record the report of a process.

        Args:
            taken: Number of the share in use; read before `in_flight`.
            waiting: Rows that it could send at once.
            more: Whether more rows will follow.
        """
        holder = self._holders[process]
        holder.in_flight, holder.wanted, holder.more = in_flight, in_flight + waiting, more
        while holder.announced[0].number < taken:
            holder.announced.popleft()

    def in_flight_beside(self, process: int) -> int:
        """Return the requests in flight of the other processes, as last reported."""
        return self.in_flight - self._holders[process].in_flight

    def is_up_to_date(self, process: int) -> bool:
        """Return whether a process uses the last share announced to it."""
        return len(self._holders[process].announced) == 1

    def share_out(self, limit: int) -> dict[int, Share]:
        """Return the new share of each process whose share changes."""
        processes, holders = list(self._holders), list(self._holders.values())
        limit = max(0, limit - sum(self._reserved.values()))
        targets = fair(limit, [holder.wanted for holder in holders])
        # Spare slots go to the processes that will have more to send.
        spare = limit - sum(targets)
        hopeful = [holder.more for holder in holders]
        for one, extra in enumerate(
            fair(spare, [spare if not any(hopeful) or more else 0 for more in hopeful])
        ):
            targets[one] += extra
        news: dict[int, Share] = {}
        for process, holder, target in zip(processes, holders, targets, strict=True):
            if target < holder.announced[-1].slots:
                self._announce(news, process, target)
        free = limit - sum(holder.held for holder in holders)
        lacking = [max(0, t - h.announced[-1].slots) for t, h in zip(targets, holders, strict=True)]
        for process, more in zip(processes, fair(max(0, free), lacking), strict=True):
            if more:
                self._announce(news, process, self._holders[process].announced[-1].slots + more)
        return news

    def _announce(self, news: dict[int, Share], process: int, slots: int) -> None:
        announced = self._holders[process].announced
        if len(announced) <= MAX_UNCONFIRMED:
            announced.append(Share(announced[-1].number + 1, slots))
            news[process] = announced[-1]


class SlotAllowance:
    """The part of a limit that one process may use, set by the pool.

    It is the `concurrency.Limiter` of that process's engine, and collects samples for the pool's
    limiter. A slot stays in use until its answer is written.

    Args:
        collects: Whether to collect samples.
        valid: Whether the share may still be used.

    Attributes:
        unwritten: Answered requests that the run has not acknowledged yet.
        taken: Number of the share that it goes by.
    """

    def __init__(self, *, collects: bool, valid: Callable[[], bool] = lambda: True) -> None:
        self.settled = self.taken = self.unwritten = 0
        self._slots = 0
        self._collects, self._valid = collects, valid
        self._samples: list[Sample] = []

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return max(0, self._slots - self.unwritten) if self._valid() else 0

    def take(self, share: Share) -> None:
        """Use another share."""
        self._slots, self.taken = share.slots, share.number

    def written(self, requests: int) -> None:
        """Free the slots of requests whose answers are written."""
        self.unwritten -= requests

    def samples(self) -> list[Sample]:
        """Return the samples since the last call."""
        samples, self._samples = self._samples, []
        return samples

    def begin_at(self, limit: int, source: Source = "guess", *, ceiling: int = CEILING) -> None:
        """Do nothing: the pool sets the limit."""

    def answered(
        self, now_s: float, *, latency_s: float, in_flight: int, work: float = 1.0
    ) -> None:
        """Collect a sample of an answer."""
        del now_s
        if self._collects:
            self._samples.append((latency_s, in_flight + self.unwritten, work))

    def overloaded(self, now_s: float, *, in_flight: int) -> None:
        """Collect a sample of back-pressure."""
        del now_s
        if self._collects:
            self._samples.append((OVERLOAD, in_flight + self.unwritten, 0.0))

    def lifted(self) -> None:
        """Collect the end of back-pressure."""
        if self._collects:
            self._samples.append((LIFTED, 0, 0.0))

    def scaled(self, factor: float) -> None:
        """Do nothing: the pool sets the limit."""
