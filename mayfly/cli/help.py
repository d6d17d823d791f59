"""Draw `--help` as cyclopts does, with a metavar for each option's value."""

from typing import Any

from cyclopts.help import DefaultFormatter, HelpPanel
from rich.console import Console, ConsoleOptions

_OWN = {"--help", "-h", "--version"}

_METAVARS = {
    "--to": "FILE",
    "--format": "FORMAT",
    "--by": "TAG",
    "--pool": "NAME",
    "--notify": "TYPE/NAME",
}
"""Of options that are not of a job."""


class HelpFormatter(DefaultFormatter):
    """Draws a panel of help; options of a job show their metavar."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Draw one panel."""
        names = {name for entry in panel.entries for name in entry.positive_names}
        if panel.format == "parameter" and not names <= _OWN:
            panel = panel.copy(entries=[_with_metavar(entry) for entry in panel.entries])
        super().__call__(console, options, panel)


def _with_metavar(entry: Any) -> Any:
    from mayfly.cli.options import metavars  # noqa: PLC0415 - the help of all commands needs no job

    known = metavars() | _METAVARS
    names = tuple(
        f"{name} {known[name]}" if name in known else name for name in entry.positive_names
    )
    return entry.copy(positive_names=names)
