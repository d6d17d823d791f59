"""Sums over shards that somebody died over count everything once."""

from mayfly.models.rows import NOTHING, Tally
from mayfly.workers.counters import ProgressCounters


def test_what_was_found_at_first_is_not_what_has_come() -> None:
    counted = ProgressCounters()

    counted.note(0, Tally(done=5), NOTHING)
    counted.note(0, Tally(done=5), Tally(done=2, failed=1))

    assert counted.tally == Tally(done=2, failed=1)


def test_what_was_done_before_a_death_counts_once_also_when_it_was_never_told() -> None:
    counted = ProgressCounters()
    counted.note(3, Tally(done=5), Tally(done=2))

    # It had done three, and died; the next one finds them and does four more.
    counted.note(3, Tally(done=8), NOTHING)
    assert counted.tally == Tally(done=3)
    counted.note(3, Tally(done=8), Tally(done=4))
    counted.ended(3)

    assert counted.tally == Tally(done=7)
