"""`mayfly`: arguments in, a flow or a read-only answer out.

Commands are named by import path and loaded when called, so that `--help` and the read-only
commands never pay for Prefect's import of some seconds.
"""

import gc
import os
import sys
from importlib.metadata import version
from typing import Any

from cyclopts import App, CycloptsError, Group, Parameter

from mayfly.cli.render.console import console as console_on
from mayfly.models.errors import MayflyError

RUNS = Group("Run", sort_key=1)
LOOKS = Group("Look (nothing is created or spent)", sort_key=2)
HANDS = Group("Endpoints", sort_key=3)

app = App(
    name="mayfly",
    help="""Batch inference on Together AI dedicated endpoints that live as long as the batch.

A Parquet dataset of prompts goes in, one request per row; Parquet with the answers comes out. \
The endpoint is rented for the batch and gone at its end, however it ends.""",
    help_epilogue="""Try it without a key:

  mayfly run data/sample.parquet --model Qwen/Qwen2.5-7B-Instruct
      --prompt 'Summarise: {{ message }}' --output out/try --local --yes

With a key (TOGETHER_API_KEY; also read: TOGETHER_BASE_URL, TOGETHER_PROJECT_ID), see what it \
would cost first:

  mayfly plan questions.parquet --model NAME --prompt '{{ question }}'

Exit codes: 0 every row has a response; 1 the run failed, and the endpoint is gone; 2 the request \
is wrong, and nothing was created; 3 some rows have an error; 4 the endpoint could not be torn \
down; 5 stopped at --max-cost or --deadline; 130, 143 interrupted, and the endpoint is gone.""",
    help_format="plaintext",
    version=version("mayfly"),
    default_parameter=Parameter(show_default=False),
    result_action="return_value",
)
app["--help"].group = app["--version"].group = Group("Options", sort_key=9)


def _command(
    path: str, group: Group, text: str, epilogue: str | None = "", *, own_help: bool = False
) -> None:
    """Name a command by its import path, with what `--help` says of it before it is loaded.

    Without an epilogue of its own a command would repeat the one of `mayfly --help`; None is for
    an App, which brings its own.
    """
    name = path.partition(":")[2]
    more: dict[str, Any] = {} if epilogue is None else {"help_epilogue": epilogue}
    if own_help:
        more["help_flags"] = ()
    app.command(path, name=name, group=group, help=text, **more)


_command(
    "mayfly.cli.run:run",
    RUNS,
    """Send every row of INPUT through a model and write the answers to a folder.

Plans, asks, creates the endpoint, awaits READY, infers, tears down, reports. Run it again with \
the same --output to resume: what is done is not sent again. Ctrl-C tears down first.""",
    """Examples:

  mayfly run questions.parquet --model NAME --prompt '{{ question }}' --output answers
  mayfly run 'logs/*.parquet' --model NAME --messages-column chat --output answers
      --max-cost 20 --deadline 2h --yes --json > run.jsonl""",
)
_command(
    "mayfly.cli.plan:plan",
    LOOKS,
    """Show what `run` would do: the data, the hardware, the price.

Nothing is created or spent.""",
)
_command(
    "mayfly.cli.read_only:hardware",
    LOOKS,
    "Show what can be rented: price and free capacity, for a model or all of it.",
)
_command(
    "mayfly.cli.read_only:status",
    LOOKS,
    """Show what a run has done so far: rows, tokens, cost, and whether its endpoint may stand.

The folder is enough: the run may be another process's, or on another machine that shares it.""",
)
_command(
    "mayfly.cli.read_only:history",
    LOOKS,
    "Show past runs on this machine: rows, throughput, cost, estimate against actual.",
)
_command(
    "mayfly.cli.endpoints:sweep",
    HANDS,
    """Find endpoints that an earlier run left behind, and tear them down.

Ended is what carries mayfly's name in this namespace (MAYFLY_NAMESPACE) and has no live owner: \
a lease on this machine whose process has died, or a name whose time has passed.""",
)
_command(
    "mayfly.cli.endpoints:endpoints", HANDS, "Look at endpoints and change them by hand.", None
)
_command(
    "mayfly.cli.endpoints:emulator",
    HANDS,
    "Serve the embedded Together-compatible endpoint on its own, in the foreground.",
    own_help=True,
)


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit code (see the README, Exit codes)."""
    # Commands are short, and most of their time is imports, whose objects stay: looking for garbage
    # after every 700 of them, as Python does by default, is a tenth of it.
    gc.set_threshold(50_000, 20, 50)
    # Nothing that mayfly starts phones home: not the SDK's CLI, not Prefect.
    for switch in ("DO_NOT_TRACK", "TOGETHER_TELEMETRY_DISABLED"):
        os.environ.setdefault(switch, "1")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    console = console_on(sys.stderr)
    try:
        code = app(argv, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        console.print(f"mayfly: {str(error).rstrip('.')}; see --help", markup=False, soft_wrap=True)
        return 2
    except MayflyError as error:
        console.print(f"mayfly: {error}", markup=False, soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        console.print("mayfly: interrupted; nothing had been created", markup=False, soft_wrap=True)
        return 130
    except BrokenPipeError:
        # The reader of a pipe has gone (`mayfly history | head`): not our error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
