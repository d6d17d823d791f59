"""The signatures of `mayfly run` and `mayfly plan`; their slow imports come later.

So `--help` and an invalid option load neither Parquet nor the API client.
"""

from typing import Annotated

from mayfly.cli.options import RUN, JobOptions, flag, parameter

Input = Annotated[str, parameter("input")]


def run(
    input: Input,  # noqa: A002 - the contract's word
    /,
    *,
    output: Annotated[str, parameter("output")],
    options: JobOptions,
    yes: Annotated[bool, flag(RUN, "Do not ask for confirmation.")] = False,
    json: Annotated[bool, flag(RUN, "One JSON object per line, for scripts.")] = False,
) -> int:
    """Run `mayfly run`."""
    options.job(input, output)
    from mayfly.cli import run as command  # noqa: PLC0415 - see above

    return command.run(input, output=output, options=options, yes=yes, json=json)


def plan(
    input: Input,  # noqa: A002 - the contract's word
    /,
    *,
    options: JobOptions,
    output: Annotated[str | None, parameter("output")] = None,
    json: Annotated[bool, flag(RUN, "JSON for scripts instead of a table.")] = False,
) -> int:
    """Run `mayfly plan`."""
    job = options.job(input, "out" if output is None else output)
    from mayfly.cli.plan import show_plan  # noqa: PLC0415 - see above

    return show_plan(job, local=options.local, named_output=output is not None, json=json)
