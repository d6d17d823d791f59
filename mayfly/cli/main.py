"""The `mayfly` command line.

Commands are given by import path and loaded when called, so that `--help` and the read-only
commands do not import Prefect, which takes seconds.
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
    """Draws help; loads the formatter on first use."""

    def __call__(self, console: Any, options: Any, panel: Any) -> None:
        self._drawn()(console, options, panel)

    def render_usage(self, console: Any, options: Any, usage: Any) -> None:
        self._drawn().render_usage(console, options, usage)

    def render_description(self, console: Any, options: Any, description: Any) -> None:
        self._drawn().render_description(console, options, description)

    def _drawn(self) -> Any:
        from mayfly.cli.help import HelpFormatter  # noqa: PLC0415 - only help needs it

        return HelpFormatter()


def _not_empty(_kind: object, given: object) -> None:
    """Reject an empty text, as an unset shell variable leaves it: as a path it is this folder.

    It is called for defaults too, so no default is an empty text.
    """
    if given == "":
        raise ValueError("must not be empty")


app = App(
    name="mayfly",
    help="""Batch inference on Together AI dedicated endpoints that live as long as the batch.

Input is a dataset with one request per row; output is Parquet with the responses. The endpoint \
is created for the batch and deleted when the batch ends, even if it fails.""",
    help_epilogue="""Try it without a key:

  mayfly run data/sample.parquet --model Qwen/Qwen2.5-7B-Instruct
      --prompt 'Summarise: {{ message }}' --output out/try --local --yes

With an API key (TOGETHER_API_KEY; also read: TOGETHER_BASE_URL, TOGETHER_PROJECT_ID), see the \
cost first:

  mayfly plan questions.parquet --model NAME --prompt '{{ question }}'

Exit codes: 0 every row has a response; 1 the run failed, and the endpoint was deleted; 2 the \
request is invalid, and nothing was created; 3 some rows failed; 4 the endpoint could not be \
deleted; 5 stopped at --max-cost, --deadline or --max-error-rate; 130, 143 interrupted, and the \
endpoint was deleted.""",
    help_format="plaintext",
    help_formatter=_Help(),
    version=_version,
    default_parameter=Parameter(show_default=False, show_choices=False, validator=_not_empty),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
app["--help"].group = app["--version"].group = Group("Options", sort_key=9)


def _add(command: Command) -> None:
    more: dict[str, Any] = {}
    if not command.is_group:
        # Set even if empty; otherwise a command repeats the epilogue of `mayfly --help`.
        more["help_epilogue"] = command.examples
    if command.own_help:
        more["help_flags"] = ()
    if command.usage:
        more["usage"] = f"mayfly {command.name} {command.usage}"
    app.command(command.path, name=command.name, group=command.group, help=command.text, **more)


for _command in COMMANDS:
    _add(_command)


def _print_error(text: str) -> None:
    from mayfly.cli.render.console import console  # noqa: PLC0415 - for an error only

    console(sys.stderr).print(f"mayfly: {text}", markup=False, soft_wrap=True)


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit code (see docs/reference/exit-codes.md)."""
    # A stream is None if its descriptor was closed at the start (`mayfly ... >&-`).
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - for the whole process
    # Collect garbage rarely, because most of a command's objects belong to its imports and stay
    # alive; and exclude the objects that exist already.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()
    # Disable the telemetry of the SDK's CLI and of Prefect.
    for switch in ("DO_NOT_TRACK", "TOGETHER_TELEMETRY_DISABLED"):
        os.environ.setdefault(switch, "1")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    with end_by_signals() as received:
        try:
            code = app(argv, exit_on_error=False, print_error=False)
        except CycloptsError as error:
            from mayfly.cli.usage_errors import message_of  # noqa: PLC0415 - for an error only

            _print_error(message_of(error))
            return 2
        except MayflyError as error:
            _print_error(str(error))
            return error.exit_code
        except KeyboardInterrupt:
            _print_error("interrupted; nothing was created")
            return exit_code_of(received)
        except BrokenPipeError:
            from mayfly.cli.render.console import silence  # noqa: PLC0415 - for an error only

            # The reader closed the pipe (`mayfly history | head`): not an error.
            silence(sys.stdout)
            return 0
        return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
