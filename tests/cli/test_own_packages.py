"""A run in a folder with packages of the user's own that have the names of mayfly's."""

import subprocess
import sys
from pathlib import Path

from tests.support.shell import ASKED, PATIENCE_S, Shell

NAMES = ("flows", "tasks", "emulator", "mayfly", "together_emulator", "tests", "prefect", "pyarrow")


def test_run_starts_no_package_of_the_working_directory(shell: Shell) -> None:
    for name in NAMES:
        package = shell.folder / name
        package.mkdir()
        (package / "__init__.py").write_text(f"raise SystemExit('{name} of the user')\n")
    # All that a run starts: emulator, Prefect server, guardian, worker processes.
    unset = ("PYTHONPATH", "PREFECT_API_URL", "TOGETHER_API_KEY", "TOGETHER_BASE_URL")

    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("mayfly")), "run", *ASKED),
            *("--local", "--runner", "processes", "--yes"),
        ],
        cwd=shell.folder,
        env={name: value for name, value in shell.env.items() if name not in unset},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "of the user" not in done.stdout + done.stderr
    assert "40 of 40 answered" in done.stdout + done.stderr
    logs = [
        *(shell.folder / "out" / "_mayfly").rglob("*.log"),
        *shell.folder.glob("state/**/*.log"),
    ]
    assert not [log for log in logs if "of the user" in log.read_text()]
