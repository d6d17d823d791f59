"""The command line that a job came from, or could have come from."""

import json
import shlex
from typing import Any

from mayfly.models.durations import write_span
from mayfly.models.job import Job
from mayfly.models.job_reference import Setting, settings


def run_command(job: Job, *extra: str) -> str:
    """Return `mayfly run ...` for a job, as one line for a POSIX shell.

    An option that takes a file is written with the placeholder FILE: the job holds the file's
    text, not its path.

    Args:
        extra: Further arguments, such as `--retry-failed`.
    """
    words = ["mayfly", "run", shlex.quote(job.input)]
    for setting in settings():
        if setting.option is not None and setting.option.flag not in extra:
            words += _words(setting, _value(job, setting.path), _value(_DEFAULT, setting.path))
    return " ".join([*words, *extra])


_DEFAULT = Job(input="-", model="-", output="-")


def _value(job: Job, path: str) -> Any:
    value: Any = job
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _words(setting: Setting, value: Any, default: Any) -> list[str]:
    option = setting.option
    if option is None or (value == default and not setting.required):
        return []
    if setting.is_switch:
        return [option.flag]
    if option.metavar == "FILE":
        return [option.flag, "FILE"]
    if isinstance(value, dict):
        value = tuple(f"{key}={each}" for key, each in value.items())
    values = value if isinstance(value, tuple | list) else [value]
    return [word for each in values for word in (option.flag, shlex.quote(_text(setting, each)))]


def _text(setting: Setting, value: Any) -> str:
    if isinstance(value, float) and setting.path.endswith("_s"):
        return write_span(value)
    if isinstance(value, dict | list):
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:g}" if abs(value) < 1e6 else repr(value)
    return str(value)
