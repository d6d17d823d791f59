"""Random runs: nothing is left, nothing is lost, no secret is printed.

`CAMPAIGN_S` says for how many seconds (150), `CAMPAIGN_SEED` with which seed to begin.
"""

import os
import random
import time
from pathlib import Path

import pytest

from tests.support.campaign import play, schedule
from tests.support.machine import Launcher, Machine, quick_emulator

SECONDS = float(os.environ.get("CAMPAIGN_S", "150"))
KEY = "tgp_v1_campaign_7c41d0e95b"


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 900)
def test_random_runs_keep_the_promises(
    launcher: Launcher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = int(os.environ.get("CAMPAIGN_SEED", random.SystemRandom().randrange(10**6)))
    end, seed = time.monotonic() + SECONDS, first
    while seed == first or time.monotonic() < end:
        with quick_emulator(key=KEY, seed=seed) as emulator:
            stage = Machine(emulator, launcher, tmp_path / str(seed), rows=16)
            try:
                play(stage, schedule(seed, stage.rows), KEY)
            finally:
                stage.switch_off()
        seed += 1
    with capsys.disabled():
        print(f"\ncampaign: {seed - first} random runs from seed {first}, every promise kept")  # noqa: T201
