"""Sums over shards that may be begun again, by whoever does not know what came before."""

from mayfly.models.rows import NOTHING, Tally


class ProgressCounters:
    """What has come of shards, whoever died over them.

    Of one that was begun again more is found than at first: that is what was done by whoever died.
    """

    def __init__(self) -> None:
        self._ended = NOTHING
        self._open: dict[int, tuple[Tally, Tally, Tally]] = {}

    def note(self, shard: int, found: Tally, since: Tally) -> None:
        """Take note of what was found of a shard when it was begun, and what has come since."""
        first = self._open[shard][0] if shard in self._open else found
        self._open[shard] = first, found, since

    def ended(self, shard: int) -> None:
        """Take note that no more will come of a shard."""
        if shard in self._open:
            self._ended += _come(*self._open.pop(shard))

    @property
    def tally(self) -> Tally:
        """What has come of all shards since each was begun first."""
        return sum((_come(*one) for one in self._open.values()), start=self._ended)


def _come(first: Tally, found: Tally, since: Tally) -> Tally:
    more = Tally(*(now - then for now, then in zip(found, first, strict=True)))
    return more + since
