"""Runs killed in their midst and started again: each row once, and little sent twice."""

from pathlib import Path

from benchmarks.resend import killed_and_resumed


def test_a_run_that_is_killed_sends_again_at_most_what_was_in_flight(tmp_path: Path) -> None:
    found = killed_and_resumed(tmp_path, rows=1_500, in_flight=32, kills=2, median_s=0.05)

    assert found["most_lost_by_one_kill"] <= 32
    assert found["sent_twice"] <= 2 * 32
    assert found["answered"] == 1_500
    assert found["in_order"]
