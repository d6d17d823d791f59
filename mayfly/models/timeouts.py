"""The timeouts and intervals of a run, as one value that is passed in."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from mayfly.models.errors import BadRequest
from mayfly.models.lease import HEARTBEAT_S

VARIABLE = "MAYFLY_TIMEOUTS"
"""Environment variable with a JSON object of some of these fields, such as
`{"observe_every_s": 1}`; read once, at the edge of a process. For tests and experiments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Timeouts and intervals of a run, all in seconds.

    Attributes:
        teardown_s: Time limit of a teardown, after which it reports what is still billed; the
            guardian then continues.
        hook_s: The same for Prefect's hook, which runs after the flow's own teardown.
        grace_s: Time for requests in flight to finish after a limit was reached.
        settle_s: Total time for shards to finish once the endpoint is deleted.
        abandon_s: The same if the run has failed or was stopped: journals hold the answers.
        observe_every_s: Interval of polls of the endpoint while rows are answered.
        observe_in_trouble_s: Interval while requests fail and none is answered: an endpoint that
            was stopped should be noticed before rows are given up.
        heartbeat_s: Interval at which a lease is renewed.
        lifetime_s: How far the time in an endpoint's name is in the future, at most: past it, any
            sweep deletes the endpoint. Names cannot be changed, so a run that lasts longer moves
            to another endpoint. A shorter time lets a sweep without the lease find the endpoint
            of a lost machine sooner; a longer one means fewer cold starts.
        move_before_s: How long before the time in its name a run leaves an endpoint.
        cancel_poll_s: Interval at which a run asks Prefect whether it was suspended, paused or
            cancelled.
        write_hang_s: Time limit of one write of answers. A busy disk takes seconds, and the server
            of a network file system may take a minute or two to restart.
        idle_s: How long an endpoint may get no request although rows are left. Reading one row
            group of a remote input may take minutes.
        silence_s: Time without a heartbeat after which the guardian deletes the run's endpoint.
    """

    teardown_s: float = 300.0
    hook_s: float = 60.0
    grace_s: float = 20.0
    settle_s: float = 300.0
    abandon_s: float = 30.0
    observe_every_s: float = 10.0
    observe_in_trouble_s: float = 1.0
    heartbeat_s: float = HEARTBEAT_S
    lifetime_s: float = 12 * 3600.0
    move_before_s: float = 600.0
    cancel_poll_s: float = 5.0
    write_hang_s: float = 120.0
    idle_s: float = 300.0
    silence_s: float = 120.0

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read MAYFLY_TIMEOUTS; unset fields keep their defaults.

        Raises:
            BadRequest: It is not a JSON object of these fields with numbers.
        """
        text = environ.get(VARIABLE, "").strip()
        if not text:
            return cls()
        names = sorted(field.name for field in fields(cls))
        try:
            given = dict(json.loads(text))
            times = {name: float(given.pop(name)) for name in names if name in given}
        except (ValueError, TypeError) as error:
            raise BadRequest(f"{VARIABLE} {text}: {error}; give a JSON object") from error
        if given:
            raise BadRequest(
                f"{VARIABLE} {text}: {', '.join(given)} is not one of {', '.join(names)}"
            )
        return cls(**times)
