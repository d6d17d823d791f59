"""`mayfly export`: an output as one file."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mayfly.cli.options import OPTIONS, flag
from mayfly.cli.read_only import Json, show
from mayfly.cli.render import console as terminal
from mayfly.cli.render.waiting import waiting
from mayfly.runs.results import batch_results, read_results
from mayfly.storage.export import Exported, Format, format_of
from mayfly.storage.export import export as write


def export(
    folder: Annotated[str, Parameter(name="DIR", help="The --output of the run.")],
    /,
    *,
    to: Annotated[str, Parameter(name="--to", group=OPTIONS, help="The file to write.")],
    format: Annotated[  # noqa: A002 - the contract's word
        Format | None,
        Parameter(
            group=OPTIONS, help="openai-batch, jsonl, csv or parquet; by default by the name."
        ),
    ] = None,
    partial: Annotated[
        bool, flag(OPTIONS, "Export an unfinished run: the rows answered so far.")
    ] = False,
    json: Json = False,
) -> int:
    """Run `mayfly export`."""
    file = Path(to)
    kind = format_of(file, format)
    with waiting(terminal.notes_console(), f"writing {file}"):
        results = read_results(folder, partial=partial)
        made = write(
            *(results.batches(), file, kind),
            folder=results.paths.folder,
            results=batch_results(results),
        )
    missing = results.manifest.rows - made.rows
    if json:
        show(_as_dict(made, missing))
    else:
        terminal.console().print(_summary_line(made, missing), soft_wrap=True, markup=False)
    return 0


def _as_dict(made: Exported, missing: int) -> dict[str, object]:
    return {
        "rows": made.rows,
        "errors": made.errors,
        "unanswered": missing,
        "file": str(made.file),
        "error_file": None if made.error_file is None else str(made.error_file),
    }


def _summary_line(made: Exported, missing: int) -> str:
    apart = made.error_file is not None
    good = made.rows - made.errors if apart else made.rows
    line = f"{good:,} rows to {made.file}"
    if apart:
        line += f", {made.errors:,} with an error to {made.error_file}"
    elif made.errors:
        line += f", {made.errors:,} of them with an error"
    return f"{line}; {missing:,} rows have no answer yet" if missing else line
