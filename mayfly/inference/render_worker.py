"""The process that renders one template: `python -m mayfly.inference.render_worker`.

It reads the template, then lists of rows, and writes for each row its text or the error. The kernel
ends it if a row exceeds its CPU time.
"""

import os
import pickle
import resource
import signal
import sys
from contextlib import suppress
from typing import Any

from mayfly.inference.render_process import Limits, send
from mayfly.inference.template import Template


def main() -> None:
    """Render rows until the end of the input."""
    rows_in = sys.stdin.buffer
    # Output of other code must not be mistaken for an answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    text, columns, limits = pickle.load(rows_in)  # noqa: S301 - from the process that started this
    limits = Limits(*limits)
    with suppress(ValueError, OSError):  # Not every system has this limit.
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, hard))
    template = Template(text, columns)
    while True:
        try:
            rows: list[dict[str, Any]] = pickle.load(rows_in)  # noqa: S301 - as above
        except EOFError:
            return
        for cells in rows:
            signal.setitimer(signal.ITIMER_PROF, limits.cpu_s)
            found = template.render_safely(cells)
            signal.setitimer(signal.ITIMER_PROF, 0)
            is_text = isinstance(found, str)
            send(answers, (found, None) if is_text else (None, str(found)))


if __name__ == "__main__":
    main()
