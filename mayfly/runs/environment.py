"""What a process was started with, read once at its edge and passed down from there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from mayfly.clock import SYSTEM_CLOCK, Clock
from mayfly.models.budget import VARIABLE
from mayfly.models.timeouts import Timeouts
from mayfly.reporting.exporters import wants_telemetry
from mayfly.storage.lease_store import LeaseStore, state_home
from mayfly.together.connection import Connection

FOLDERS = (
    "HF_HOME",
    "HF_HUB_CACHE",
    "MAYFLY_HISTORY",
    "MAYFLY_HOME",
    "XDG_CACHE_HOME",
    "XDG_STATE_HOME",
)
"""The variables that name folders; none holds a secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The surroundings of a run.

    Attributes:
        folders: The environment variables that name where leases, history and tokenizers are.
        telemetry: Whether an OpenTelemetry collector is to have the run's figures.
        monthly_budget: What all runs of a calendar month may cost, as it was given: a wrong value
            must hold up no teardown, and so it is read where a run is planned.
    """

    connection: Connection
    folders: Mapping[str, str] = field(default_factory=dict)
    timeouts: Timeouts = field(default_factory=Timeouts)
    clock: Clock = SYSTEM_CLOCK
    telemetry: bool = False
    monthly_budget: str = ""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """Read a process's environment.

        Raises:
            BadRequest: There is no key, or a value that cannot be one.
        """
        return cls(
            connection=Connection.from_env(environ),
            folders={name: environ[name] for name in FOLDERS if name in environ},
            timeouts=Timeouts.from_env(environ),
            telemetry=wants_telemetry(environ),
            monthly_budget=environ.get(VARIABLE, ""),
        )

    @property
    def home(self) -> Path:
        """Where mayfly keeps what outlives a run."""
        return state_home(self.folders)

    @property
    def leases(self) -> LeaseStore:
        """The leases of this user on this machine."""
        return LeaseStore(self.home)
