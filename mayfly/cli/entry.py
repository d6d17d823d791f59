"""Entry point of the `mayfly` command, which handles signals before and after `main`.

Before `main` only imports run, and after it only exit handlers: a signal ends the process at once,
with the documented exit code and without a traceback.
"""

import gc
import os
import signal
import sys
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _end_at_once(number: int, _frame: FrameType | None) -> None:
    os.write(2, b"mayfly: interrupted; nothing was created\n")
    os._exit(130 if number == signal.SIGINT else 143)


def main() -> None:
    """Run the command line, and exit."""
    for number in _SIGNALS:
        signal.signal(number, _end_at_once)
    # Imports leave objects that stay: to look for garbage among them takes a tenth of the command.
    gc.disable()
    # pydantic would read the metadata of every package that is installed, to find its plugins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from mayfly.cli.main import main as command  # noqa: PLC0415 - after the handlers are set

    code = command()
    for number in _SIGNALS:
        # The command is complete; the remaining exit handlers only clean up.
        signal.signal(number, lambda *_: os._exit(code))
    # The interpreter would look through all that is left once more, to no use.
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    main()
