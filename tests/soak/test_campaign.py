"""Random runs: nothing is left, nothing is lost, no secret is printed.

`CAMPAIGN_S` says for how many seconds (240), `CAMPAIGN_SEED` with which seed to begin; by default a
random one, and the same each time in CI, which decides about a change. A disk that hangs and a
clock that is set take a C compiler; without one the runs do without them, and say so.
"""

import os
import random
import time
from pathlib import Path

import pytest

from tests.support.campaign import play, schedule
from tests.support.machine import Launcher, Machine, quick_emulator
from tests.support.odd_machine import OddMachine, compiled_library

SECONDS = float(os.environ.get("CAMPAIGN_S", "240"))
FIRST_SEED = 1 if os.environ.get("CI") else random.SystemRandom().randrange(10**6)
KEY = "tgp_v1_campaign_7c41d0e95b"


@pytest.fixture(scope="module")
def can_be_odd(tmp_path_factory: pytest.TempPathFactory) -> bool:
    """Whether disk and clock of a machine can be made odd here."""
    return compiled_library(tmp_path_factory.mktemp("library")) is not None


@pytest.fixture(scope="module")
def campaign_launcher(can_be_odd: bool, request: pytest.FixtureRequest) -> Launcher:
    found: Launcher = request.getfixturevalue("odd_launcher" if can_be_odd else "launcher")
    return found


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 900)
def test_random_runs_keep_every_promise(
    campaign_launcher: Launcher,
    can_be_odd: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = int(os.environ.get("CAMPAIGN_SEED", FIRST_SEED))
    end, seed = time.monotonic() + SECONDS, first
    while seed == first or time.monotonic() < end:
        folder = tmp_path / str(seed)
        with quick_emulator(key=KEY, seed=seed) as emulator:
            machine = Machine(emulator, campaign_launcher, folder / "machine", rows=16)
            odd = OddMachine(folder, machine.output, machine.home) if can_be_odd else None
            if odd is not None:
                machine.env |= odd.environment
            try:
                play(machine, schedule(seed, machine.rows), KEY, odd)
            finally:
                machine.switch_off()
        seed += 1
    with capsys.disabled():
        how = "" if can_be_odd else ", without hung disks and clock steps (no C compiler)"
        print(f"\ncampaign: {seed - first} random runs from seed {first}, every promise kept{how}")  # noqa: T201
