"""`mayfly`: arguments in, a flow or a read-only answer out.

Commands are named by import path and loaded when called, so that `--help` and the read-only
commands never pay for Prefect's import of some seconds.
"""

import gc
import os
import sys
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError, Group, Parameter

from mayfly.cli.commands import COMMANDS, Command
from mayfly.models.errors import MayflyError
from mayfly.signals import end_by_signals, exit_code_of


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - only `--version` reads metadata

    return version("mayfly")


class _Help:
    """Draws help; loads what that takes when it is asked for."""

    def __call__(self, console: Any, options: Any, panel: Any) -> None:
        self._drawn()(console, options, panel)

    def render_usage(self, console: Any, options: Any, usage: Any) -> None:
        self._drawn().render_usage(console, options, usage)

    def render_description(self, console: Any, options: Any, description: Any) -> None:
        self._drawn().render_description(console, options, description)

    def _drawn(self) -> Any:
        from mayfly.cli.help import HelpFormatter  # noqa: PLC0415 - only help needs it

        return HelpFormatter()


app = App(
    name="mayfly",
    help="""Batch inference on Together AI dedicated endpoints that live as long as the batch.

A dataset of prompts goes in, one request per row; Parquet with the responses comes out. The \
endpoint is rented for the batch and deleted when the batch ends, even if it fails.""",
    help_epilogue="""Try it without a key:

  mayfly run data/sample.parquet --model Qwen/Qwen2.5-7B-Instruct
      --prompt 'Summarise: {{ message }}' --output out/try --local --yes

With a key (TOGETHER_API_KEY; also read: TOGETHER_BASE_URL, TOGETHER_PROJECT_ID), see what it \
would cost first:

  mayfly plan questions.parquet --model NAME --prompt '{{ question }}'

Exit codes: 0 every row has a response; 1 the run failed, and the endpoint is deleted; 2 the \
request is wrong, and nothing was created; 3 some rows have an error; 4 the endpoint could not be \
deleted; 5 stopped at --max-cost, --deadline or --max-error-rate; 130, 143 interrupted, and the \
endpoint is deleted.""",
    help_format="plaintext",
    help_formatter=_Help(),
    version=_version,
    default_parameter=Parameter(show_default=False, show_choices=False),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
app["--help"].group = app["--version"].group = Group("Options", sort_key=9)


def _add(command: Command) -> None:
    more: dict[str, Any] = {}
    if not command.is_group:
        # Even an empty one, because a command would repeat the epilogue of `mayfly --help`.
        more["help_epilogue"] = command.examples
    if command.own_help:
        more["help_flags"] = ()
    if command.usage:
        more["usage"] = f"mayfly {command.name} {command.usage}"
    app.command(command.path, name=command.name, group=command.group, help=command.text, **more)


for _command in COMMANDS:
    _add(_command)


def _say(text: str) -> None:
    from mayfly.cli.render.console import console  # noqa: PLC0415 - for an error only

    console(sys.stderr).print(f"mayfly: {text}", markup=False, soft_wrap=True)


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit code (see the README, Exit codes)."""
    # Python has no stream where a descriptor was closed at the start (`mayfly ... >&-`).
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - for the whole process
    # Seldom, because a command's objects are mostly those of its imports, which stay; and not among
    # those that are there, which would be looked through at once.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()
    # Nothing that mayfly starts phones home: not the SDK's CLI, not Prefect.
    for switch in ("DO_NOT_TRACK", "TOGETHER_TELEMETRY_DISABLED"):
        os.environ.setdefault(switch, "1")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    with end_by_signals() as received:
        try:
            code = app(argv, exit_on_error=False, print_error=False)
        except CycloptsError as error:
            from mayfly.cli.usage_errors import words_of  # noqa: PLC0415 - for an error only

            _say(words_of(error))
            return 2
        except MayflyError as error:
            _say(str(error))
            return error.exit_code
        except KeyboardInterrupt:
            _say("interrupted; nothing had been created")
            return exit_code_of(received)
        except BrokenPipeError:
            from mayfly.cli.render.console import silence  # noqa: PLC0415 - for an error only

            # The reader of a pipe has gone (`mayfly history | head`): not our error.
            silence(sys.stdout)
            return 0
        return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
