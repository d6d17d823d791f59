"""Which systems mayfly runs on."""

import sys

UNSUPPORTED = "mayfly: Windows is not supported; run it under WSL 2 (Ubuntu), on Linux or on macOS"


def refuse_unsupported(platform: str = sys.platform) -> None:
    """Stop with one line where the system lacks what the promises rest on (exit code 2).

    Windows has no process groups, pipes and locks of the kind by which an endpoint is ended when
    its run is killed.
    """
    if platform in ("win32", "cygwin"):
        sys.stderr.write(UNSUPPORTED + "\n")
        raise SystemExit(2)
