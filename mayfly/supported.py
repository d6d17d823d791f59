"""Check that mayfly supports the operating system."""

import sys

UNSUPPORTED = "mayfly: Windows is not supported; run it under WSL 2 (Ubuntu), on Linux or on macOS"


def refuse_unsupported(platform: str = sys.platform) -> None:
    """Exit with one line and code 2 on an unsupported system.

    Windows lacks the process groups, pipes and locks that end an endpoint when its run is killed.
    """
    if platform in ("win32", "cygwin"):
        sys.stderr.write(UNSUPPORTED + "\n")
        raise SystemExit(2)
