"""The metrics file is in Prometheus's text format, and is replaced atomically."""

import re
from pathlib import Path

from mayfly.models.rows import Tally
from mayfly.reporting.progress import Progress, Snapshot, Step
from mayfly.reporting.prometheus_file import PrometheusFile, exposition, labels_of

SAMPLE = re.compile(r'([a-z_]+)\{((?:[a-zA-Z_0-9]+="(?:[^"\\]|\\.)*",?)*)\} (-?[0-9.e+]+)')


def test_every_line_is_a_comment_or_a_sample_of_the_text_format() -> None:
    labels = labels_of(run="r1", model="Qwen/Q", tags={"cost centre": 'a "b"\n\\'})
    now = Snapshot(step=Step.INFERRING, rows=10, tally=Tally(done=4, failed=1, prompt_tokens=7),
                   retries={"HTTP 429 rate_limited": 3}, seconds={"waiting": 2.5})  # fmt: skip

    lines = exposition(now, labels).splitlines()

    samples = {}
    for line in lines:
        if not line.startswith(("# HELP mayfly_", "# TYPE mayfly_")):
            found = SAMPLE.fullmatch(line)
            assert found is not None, line
            samples[found[1], found[2].rpartition(",")[2]] = float(found[3])
    escaped = 'tag_cost_centre="a \\"b\\"\\n\\\\"'
    assert samples["mayfly_rows_done_total", escaped] == 4
    assert samples["mayfly_retries_total", 'reason="HTTP 429 rate_limited"'] == 3
    assert samples["mayfly_tokens_total", 'type="prompt"'] == 7
    assert samples["mayfly_step_seconds_total", 'step="waiting"'] == 2.5
    assert samples["mayfly_run_active", escaped] == 1


def test_file_of_a_run_that_has_ended_says_so(tmp_path: Path) -> None:
    progress = Progress()
    progress.begin()
    file = PrometheusFile(tmp_path / "metrics.prom", {"run": "r1"})

    file.update(progress)
    active = (tmp_path / "metrics.prom").read_text()
    progress.enter(Step.DONE)
    file.close(progress)

    assert 'mayfly_run_active{run="r1"} 1' in active
    assert 'mayfly_run_active{run="r1"} 0' in (tmp_path / "metrics.prom").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.prom"]
