"""The commands: where each is, and what `--help` says of it before it is loaded."""

from typing import NamedTuple

from cyclopts import Group

RUNS = Group("Run", sort_key=1)
SCHEDULES = Group("Schedules and the Prefect UI", sort_key=4)
READ_ONLY = Group("Read only (nothing is created or spent)", sort_key=2)
ENDPOINTS = Group("Endpoints", sort_key=3)


class Command(NamedTuple):
    """One command, as `--help` shows it before it is loaded.

    Attributes:
        path: Import path of its function or App, whose name is the command's.
        text: What it does; the first line stands in the list of commands.
        usage: Its arguments, where they are not those that the function shows by itself.
        examples: Shown below its options.
        own_help: Whether it brings a `--help` of its own.
        is_group: Whether it is an App with commands of its own, which takes these texts itself.
    """

    path: str
    group: Group
    text: str
    usage: str = ""
    examples: str = ""
    own_help: bool = False
    is_group: bool = False

    @property
    def name(self) -> str:
        """What is typed after `mayfly`."""
        return self.path.partition(":")[2]


COMMANDS = (
    Command(
        "mayfly.cli.job_commands:run",
        RUNS,
        """Send every row of INPUT through a model and write the results to a folder.

Plans, asks, creates the endpoint, waits until it is READY, sends the rows, deletes the endpoint, \
reports. Run it again with the same --output to resume: finished rows are not sent again. Ctrl-C \
deletes the endpoint first.""",
        "INPUT --model MODEL --output DIR [OPTIONS]",
        """Examples:

  mayfly run questions.parquet --model NAME --prompt '{{ question }}' --output out
  mayfly run 'logs/*.parquet' --model NAME --messages-column chat --output out
      --max-cost 20 --deadline 2h --yes --json > run.jsonl""",
    ),
    Command(
        "mayfly.cli.job_commands:plan",
        READ_ONLY,
        """Show what `run` would do: the data, the hardware, the price.

Nothing is created or spent.""",
        "INPUT --model MODEL [OPTIONS]",
    ),
    Command(
        "mayfly.cli.read_only:models",
        READ_ONLY,
        """Show which models can be deployed: the catalogue's, or with --mine your project's own.

Of own models the list shows the base model, and how many configs can deploy them: without one, a \
model cannot be rented. A LoRA adapter is deployed merged into its base model.""",
        "[SEARCH] [OPTIONS]",
    ),
    Command(
        "mayfly.cli.read_only:hardware",
        READ_ONLY,
        "Show what can be rented: price and free capacity, for a model or all of it.",
    ),
    Command(
        "mayfly.cli.read_only:status",
        READ_ONLY,
        """Show what a run has done so far: rows, tokens, cost, endpoint.

The folder is enough: the run may belong to another process, or to another machine that shares \
the folder.""",
        "DIR [OPTIONS]",
    ),
    Command(
        "mayfly.cli.runs:runs",
        READ_ONLY,
        "Show the runs of this machine and their state, the newest first.",
    ),
    Command(
        "mayfly.cli.runs:cancel",
        RUNS,
        """End the run of a folder cleanly from another terminal.

It stops sending, deletes the endpoint, and keeps every answer; the same `run` command resumes.""",
        "DIR [OPTIONS]",
    ),
    Command(
        "mayfly.cli.export:export",
        READ_ONLY,
        """Write the answers of a run to one file: OpenAI-batch results, JSON lines, CSV or Parquet.

In the format openai-batch rows with an error go to a file of their own, FILE with .errors before \
its suffix. With --partial the answers of a run that is on, or was interrupted, are taken too.""",
        "DIR --to FILE [OPTIONS]",
        """Examples:

  mayfly export out --to answers.csv
  mayfly export out --to results.jsonl --format openai-batch
  mayfly export out --to so-far.jsonl --partial""",
    ),
    Command(
        "mayfly.cli.read_only:history",
        READ_ONLY,
        """Show past runs on this machine: rows, throughput, cost, estimate against actual.

--by TAG sums them up by the values of a tag (run --tag TAG=VALUE).""",
    ),
    Command(
        "mayfly.cli.endpoints:sweep",
        ENDPOINTS,
        """Find orphaned endpoints of earlier runs and delete them.

An endpoint is orphaned if its lease on this machine is of a process that has died, or if it \
carries mayfly's name in this namespace (MAYFLY_NAMESPACE), has no lease here, and its time has \
passed or the API has recorded no use of it for half an hour. Both generations of the API are \
swept; what is spared is listed with the reason.""",
    ),
    Command(
        "mayfly.cli.endpoints:endpoints",
        ENDPOINTS,
        """List, show, start, stop, scale and delete endpoints.

NAME is a name, `slug/name` or an id.""",
        examples="""Examples:

  mayfly endpoints list
  mayfly endpoints scale my-endpoint 1-4
  mayfly endpoints delete my-endpoint --yes
  mayfly endpoints list --api v1 --json""",
        is_group=True,
    ),
    Command(
        "mayfly.cli.deploy:deploy",
        SCHEDULES,
        """Register mayfly's Prefect deployments, work pool and block type with a Prefect server.

The server is the one that PREFECT_API_URL or the Prefect profile names. Run it again after an \
update: schedules and parameters that were changed in the UI are kept.""",
    ),
    Command(
        "mayfly.cli.endpoints:emulator",
        ENDPOINTS,
        "Serve the embedded Together-compatible endpoint on its own, in the foreground.",
        own_help=True,
    ),
)
"""Every command, in the order of `mayfly --help`; another one is another entry."""


def command(name: str) -> Command:
    """Return a command by its name."""
    return next(each for each in COMMANDS if each.name == name)
