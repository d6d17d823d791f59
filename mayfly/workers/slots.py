"""One limit on requests in flight, shared over the processes that send them.

`SlotShares` hands the limit out; a `SlotAllowance` is what one process may have of it. Both are
pure. A slot belongs to one process at a time: what is taken from one goes to another only once the
first has confirmed the release, so that all together never have more in flight than the limit,
however long messages are under way.

Everyone gets the same, but nobody more than there is use for: what a process that runs dry does
not need goes to the others at once (max-min fairness). Source: D. Bertsekas and R. Gallager,
"Data Networks", 2nd edition, 1992, section 6.5.2.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mayfly.inference.concurrency import CEILING, Source

UNTAKEN = 8
"""Slots that may be under way to one process: one that does not listen is told no more."""

Sample = tuple[float, int, float]
"""An answer: latency in seconds, number in flight when it came, work. Or, with a latency of
`OVERLOAD`, back-pressure and the number still in flight; with `LIFTED`, its end."""

OVERLOAD = -1.0
LIFTED = -2.0


class Share(NamedTuple):
    """What a process may have in flight from now on; `number` counts up from 1."""

    number: int
    places: int


def fair(places: int, wanted: Sequence[int]) -> list[int]:
    """Return how many places each gets: the same for all, but none more than it wants.

    They add up to `places`, or to all that is wanted if that is less. A remainder goes to those
    that want most, and among equals to the first.
    """
    got = [0] * len(wanted)
    left = places
    by_need = sorted(range(len(wanted)), key=lambda one: (min(wanted[one], places), -one))
    for rank, one in enumerate(by_need):
        got[one] = min(wanted[one], left // (len(wanted) - rank))
        left -= got[one]
    return got


@dataclass(slots=True)
class _Holder:
    """A process, as far as is known here.

    Attributes:
        told: SlotShares that it may be going by: the one it has taken last, and those after it.
    """

    told: deque[Share] = field(default_factory=lambda: deque([Share(0, 0)]))
    in_flight: int = 0
    wanted: int = 0
    more: bool = False

    @property
    def held(self) -> int:
        """The most that it may have in flight at this moment."""
        return max(self.in_flight, *(share.places for share in self.told))


class SlotShares:
    """Hands a limit out to processes, which are known by their numbers."""

    def __init__(self) -> None:
        self._holders: dict[int, _Holder] = {}
        self._kept_back: dict[int, int] = {}

    @property
    def in_flight(self) -> int:
        """What all of them had in flight when they last said so."""
        return sum(holder.in_flight for holder in self._holders.values())

    def joined(self, process: int) -> None:
        """Take a process in, which has nothing in flight."""
        self._holders[process] = _Holder()

    def left(self, process: int) -> None:
        """Take note that a process has ended, and what it had in flight with it."""
        self._holders.pop(process, None)
        self._kept_back.pop(process, None)

    def lost(self, process: int) -> None:
        """Keep back the slots of a process that is given up, and may have requests in flight.

        Until `left`, nobody else gets them.
        """
        if (holder := self._holders.pop(process, None)) is not None:
            self._kept_back[process] = holder.held

    def reported(
        self, process: int, *, taken: int, in_flight: int, waiting: int, more: bool
    ) -> None:
        """Take note of what a process has said of itself.

        Args:
            taken: Number of the share that it goes by; read before `in_flight`.
            waiting: Rows that it could send at once.
            more: Whether further rows will come to be sent.
        """
        holder = self._holders[process]
        holder.in_flight, holder.wanted, holder.more = in_flight, in_flight + waiting, more
        while holder.told[0].number < taken:
            holder.told.popleft()

    def in_flight_beside(self, process: int) -> int:
        """Return what the others had in flight when they last said so."""
        return self.in_flight - self._holders[process].in_flight

    def goes_by_latest(self, process: int) -> bool:
        """Whether a process has taken the last share that it was told of."""
        return len(self._holders[process].told) == 1

    def share_out(self, limit: int) -> dict[int, Share]:
        """Return the processes that are to be told something else, each with its new share."""
        processes, holders = list(self._holders), list(self._holders.values())
        limit = max(0, limit - sum(self._kept_back.values()))
        targets = fair(limit, [holder.wanted for holder in holders])
        # What nobody needs now waits where it is needed next: at those that have more to send.
        spare = limit - sum(targets)
        hopeful = [holder.more for holder in holders]
        for one, extra in enumerate(
            fair(spare, [spare if not any(hopeful) or more else 0 for more in hopeful])
        ):
            targets[one] += extra
        news: dict[int, Share] = {}
        for process, holder, target in zip(processes, holders, targets, strict=True):
            if target < holder.told[-1].places:
                self._tell(news, process, target)
        free = limit - sum(holder.held for holder in holders)
        lacking = [max(0, t - h.told[-1].places) for t, h in zip(targets, holders, strict=True)]
        for process, more in zip(processes, fair(max(0, free), lacking), strict=True):
            if more:
                self._tell(news, process, self._holders[process].told[-1].places + more)
        return news

    def _tell(self, news: dict[int, Share], process: int, places: int) -> None:
        told = self._holders[process].told
        if len(told) <= UNTAKEN:
            told.append(Share(told[-1].number + 1, places))
            news[process] = told[-1]


class SlotAllowance:
    """The part of a limit that one process may use, which is set from outside.

    A `concurrency.Limiter` for the engine of that process; what it would learn from is
    kept for whoever decides on the whole. A slot whose answer is not written yet is in use still.

    Args:
        keeping: Whether there is somebody who learns.
        valid: Whether the share may still be used.

    Attributes:
        unwritten: Requests that are answered, and whose answers the run has not acknowledged.
        taken: Number of the share that it goes by.
    """

    def __init__(self, *, keeping: bool, valid: Callable[[], bool] = lambda: True) -> None:
        self.settled = self.taken = self.unwritten = 0
        self._places = 0
        self._keeping, self._valid = keeping, valid
        self._samples: list[Sample] = []

    @property
    def limit(self) -> int:
        """How many requests may be in flight now."""
        return max(0, self._places - self.unwritten) if self._valid() else 0

    def take(self, share: Share) -> None:
        """Go by another share."""
        self._places, self.taken = share.places, share.number

    def written(self, requests: int) -> None:
        """Take note that the answers of so many requests are written."""
        self.unwritten -= requests

    def samples(self) -> list[Sample]:
        """Return what has come since this was last called."""
        samples, self._samples = self._samples, []
        return samples

    def begin_at(self, limit: int, source: Source = "guess", *, ceiling: int = CEILING) -> None:
        """Do nothing: the number is set from outside."""

    def answered(
        self, now_s: float, *, latency_s: float, in_flight: int, work: float = 1.0
    ) -> None:
        """Keep an answer."""
        del now_s
        if self._keeping:
            self._samples.append((latency_s, in_flight + self.unwritten, work))

    def overloaded(self, now_s: float, *, in_flight: int) -> None:
        """Keep a sign of back-pressure."""
        del now_s
        if self._keeping:
            self._samples.append((OVERLOAD, in_flight + self.unwritten, 0.0))

    def lifted(self) -> None:
        """Keep a sign that load is no longer refused."""
        if self._keeping:
            self._samples.append((LIFTED, 0, 0.0))

    def scaled(self, factor: float) -> None:
        """Do nothing: the number is set from outside."""
