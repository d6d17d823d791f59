"""The process environment, read once at the edge and passed down."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from mayfly.clock import SYSTEM_CLOCK, Clock
from mayfly.models.budget import VARIABLE
from mayfly.models.timeouts import Timeouts
from mayfly.reporting.telemetry_signals import Signal, telemetry_signals
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
    """The environment of a run.

    Attributes:
        folders: The environment variables that name the folders of leases, history and
            tokenizers.
        telemetry: What to send by OpenTelemetry, each with the variable that names its endpoint.
        monthly_budget: The monthly budget as given. It is parsed when a run is planned, so that
            an invalid value cannot prevent a teardown.
    """

    connection: Connection
    folders: Mapping[str, str] = field(default_factory=dict)
    timeouts: Timeouts = field(default_factory=Timeouts)
    clock: Clock = SYSTEM_CLOCK
    telemetry: Mapping[Signal, str] = field(default_factory=dict)
    monthly_budget: str = ""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """Read a process's environment.

        Raises:
            BadRequest: There is no API key, or a value is invalid.
        """
        return cls(
            connection=Connection.from_env(environ),
            folders={name: environ[name] for name in FOLDERS if name in environ},
            timeouts=Timeouts.from_env(environ),
            telemetry=telemetry_signals(environ),
            monthly_budget=environ.get(VARIABLE, ""),
        )

    @property
    def home(self) -> Path:
        """The folder of mayfly's state, which outlives a run."""
        return state_home(self.folders)

    @property
    def leases(self) -> LeaseStore:
        """The leases of this user on this machine."""
        return LeaseStore(self.home)
