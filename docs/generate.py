"""Write the reference pages that the code itself decides: `python docs/generate.py`.

`docs/conf.py` calls it at every build, and a test holds the committed pages to it.
"""

import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from mayfly.cli.commands import COMMANDS
from mayfly.models.job_reference import Setting, settings

REFERENCE = Path(__file__).parent / "reference"


def pages() -> dict[str, str]:
    """Return each page's text by its file name."""
    return {"options.md": options_page(), "commands.md": commands_page()}


def options_page() -> str:
    """Return the page of every setting of a job."""
    return "\n".join([*_options(), ""])


def _options() -> Iterator[str]:
    yield "# Options of run and plan\n"
    yield (
        "The same settings are the options of the command line, the keywords of `mayfly.run`, and "
        "the\nfields of the form in the Prefect UI. Generated from the `Job` model.\n"
    )
    for group, members in groupby(settings(), key=lambda setting: setting.group):
        yield f"## {group}\n"
        yield "| option | Python | form | default | meaning |"
        yield "| --- | --- | --- | --- | --- |"
        yield from (_row(setting) for setting in members)
        yield ""


def _row(setting: Setting) -> str:
    option = setting.option
    name = setting.name if option is None else f"{option.flag} {option.metavar}".strip()
    default = "required" if setting.required else f"`{setting.default}`" if setting.default else ""
    cells = (f"`{name}`", f"`{setting.keyword}`", setting.title, default, setting.help)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def commands_page() -> str:
    """Return the page of every command."""
    lines = ["# Commands\n"]
    for command in COMMANDS:
        usage = f"mayfly {command.name} {command.usage or '[OPTIONS]'}"
        lines += [f"## {command.name}\n", f"```\n{usage}\n```\n", f"{command.text}\n"]
        if command.examples:
            examples = command.examples.removeprefix("Examples:").strip("\n")
            lines += [f"```sh\n{examples}\n```\n"]
    return "\n".join(lines)


def main() -> None:
    """Write the pages that have changed."""
    for name, text in pages().items():
        path = REFERENCE / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            sys.stdout.write(f"wrote {path.relative_to(REFERENCE.parent)}\n")


if __name__ == "__main__":
    main()
