"""A disk that hangs in the middle of a run: the endpoint ends first, and no answer is lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hung_disk import HungDisk, compiled_library, launcher_with_hung_disk
from tests.support.machine import Launcher, Machine, quick_emulator
from tests.support.wait import wait_until
from together_emulator import FaultRule

SLOW = FaultRule(action="delay", path="^/v1/chat/", delay_s=0.1)


@pytest.fixture(scope="module")
def hanging(prefect_api_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    library = compiled_library(tmp_path_factory.mktemp("library"))
    environ = {
        "PREFECT_API_URL": prefect_api_url,
        "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect")),
        "DO_NOT_TRACK": "1",
    }
    with launcher_with_hung_disk(library, environ) as launcher:
        yield launcher


def test_output_that_hangs_ends_the_endpoint_and_keeps_what_was_answered(
    hanging: Launcher, tmp_path: Path
) -> None:
    with quick_emulator() as emulator:
        stage = Machine(emulator, hanging, tmp_path / "machine", rows=60)
        disk = HungDisk(stage.output)
        stage.env |= disk.environment
        emulator.use_faults(SLOW)
        run = stage.run(timeouts={"write_hang_s": 1})
        wait_until(lambda: stage.answered() >= 8, "no rows were answered")
        disk.hang()

        stage.await_gone()
        assert run.alive
        disk.come_back()

        assert run.wait() == 1, run.text
        assert "Traceback" not in run.text
        again = stage.run()
        assert again.wait() == 0, again.text
        stage.assert_complete()
        assert stage.answered() == stage.rows
