"""`mayfly`: arguments in, a flow or a read-only answer out.

Commands are named by import path and loaded when called, so that `--help` and the read-only
commands never pay for Prefect's import of some seconds.
"""

import os
import sys
from importlib.metadata import version

from cyclopts import App, CycloptsError, Group
from rich.console import Console

from tasks.core.errors import MayflyError

RUNS = Group("Run", sort_key=1)
LOOKS = Group("Look (nothing is created or spent)", sort_key=2)
HANDS = Group("Endpoints", sort_key=3)

app = App(
    name="mayfly",
    help="""Batch inference on Together AI dedicated endpoints that live as long as the batch.

    A Parquet dataset of prompts goes in, one request per row; Parquet with the answers comes out.
    The endpoint is rented for the batch and gone at its end, however it ends.

    Try it without a key:

        mayfly run data/sample.parquet --model Qwen/Qwen2.5-7B-Instruct
            --prompt 'Summarise: {{ message }}' --output out/try --local --yes
    """,
    help_format="plaintext",
    version=version("mayfly"),
    result_action="return_value",
)
app["--help"].group = app["--version"].group = Group("Options", sort_key=9)
app.command("flows.cli_run:run", name="run", group=RUNS)
app.command("flows.cli_look:plan", name="plan", group=LOOKS)
app.command("flows.cli_look:status", name="status", group=LOOKS)
app.command("flows.cli_look:hardware", name="hardware", group=LOOKS)
app.command("flows.cli_look:history", name="history", group=LOOKS)
app.command("flows.cli_endpoints:sweep", name="sweep", group=HANDS)
app.command("flows.cli_endpoints:endpoints", name="endpoints", group=HANDS)
app.command("flows.cli_endpoints:emulator", name="emulator", group=HANDS)


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit code (see the README, Exit codes)."""
    # Nothing that mayfly starts phones home: not the SDK's CLI, not Prefect.
    for switch in ("DO_NOT_TRACK", "TOGETHER_TELEMETRY_DISABLED"):
        os.environ.setdefault(switch, "1")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        code = app(argv, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        console.print(f"mayfly: {str(error).rstrip('.')}; see --help", markup=False)
        return 2
    except MayflyError as error:
        console.print(f"mayfly: {error}", markup=False)
        return error.exit_code
    except KeyboardInterrupt:
        console.print("mayfly: interrupted; nothing had been created", markup=False)
        return 130
    except BrokenPipeError:
        # The reader of a pipe has gone (`mayfly history | head`): not our error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
