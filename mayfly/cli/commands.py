"""The commands: their import paths and help texts, so that `--help` need not load them."""

from typing import NamedTuple

from cyclopts import Group

RUNS = Group("Run", sort_key=1)
SCHEDULES = Group("Schedules and the Prefect UI", sort_key=4)
READ_ONLY = Group("Read only (nothing is created or spent)", sort_key=2)
ENDPOINTS = Group("Endpoints", sort_key=3)


class Command(NamedTuple):
    """One command, as `--help` shows it before it is loaded.

    Attributes:
        path: Import path of its function or App, which has the command's name.
        text: Help text; its first line is shown in the list of commands.
        usage: Usage line, where the generated one does not fit.
        examples: Text below the options.
        own_help: Whether the command handles `--help` itself.
        is_group: Whether it is an App with sub-commands, which uses these texts itself.
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
        """The name of the command."""
        return self.path.partition(":")[2]


COMMANDS = (
    Command(
        "mayfly.cli.job_commands:run",
        RUNS,
        """Send every row of INPUT through a model and write the results to a folder.

Shows the plan and asks for confirmation, creates the endpoint, waits until it is READY, sends the \
rows, deletes the endpoint and writes a report. Run it again with the same --output to resume: \
finished rows are not sent again. Ctrl-C deletes the endpoint before the command ends.""",
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

For your own models it shows the base model and the number of configs: a model without a config \
cannot be deployed. A LoRA adapter is deployed merged into its base model.""",
        "[SEARCH] [OPTIONS]",
    ),
    Command(
        "mayfly.cli.read_only:hardware",
        READ_ONLY,
        "Show the hardware on offer: price and free capacity, for one model or all.",
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
        "Show the runs of this machine and their state, newest first.",
    ),
    Command(
        "mayfly.cli.runs:cancel",
        RUNS,
        """End the run of a folder cleanly, from another terminal.

It stops sending, deletes the endpoint and keeps every answer. The same `run` command resumes \
it.""",
        "DIR [OPTIONS]",
    ),
    Command(
        "mayfly.cli.export:export",
        READ_ONLY,
        """Write the answers of a run to one file: OpenAI-batch results, JSON lines, CSV or Parquet.

In the format openai-batch, failed rows are written to a separate file: FILE with .errors before \
its suffix. --partial also exports a run that is active or was interrupted.""",
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

--by TAG shows totals by the values of a tag (run --tag TAG=VALUE).""",
    ),
    Command(
        "mayfly.cli.endpoints:sweep",
        ENDPOINTS,
        """Find orphaned endpoints of earlier runs and delete them.

An endpoint is orphaned if its lease on this machine belongs to a process that has died. An \
endpoint of this namespace (MAYFLY_NAMESPACE) without a lease here is orphaned if its lifetime has \
ended, or if the API has recorded no use of it for half an hour. Both generations of the API are \
swept; endpoints that are left running are listed with the reason.""",
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

The server is set by PREFECT_API_URL or the Prefect profile. Run it again after an update: \
schedules and parameters that were changed in the UI are kept.""",
    ),
    Command(
        "mayfly.cli.endpoints:emulator",
        ENDPOINTS,
        "Run the local emulator of Together's API by itself, in the foreground.",
        own_help=True,
    ),
)
"""Every command, in the order of `mayfly --help`."""


def command(name: str) -> Command:
    """Return a command by its name."""
    return next(each for each in COMMANDS if each.name == name)
