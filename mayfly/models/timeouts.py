"""How long a run waits for what, in one value that is passed in."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from mayfly.models.errors import BadRequest
from mayfly.models.lease import HEARTBEAT_S

VARIABLE = "MAYFLY_TIMEOUTS"
"""An environment variable with a JSON object of some of these fields, such as
`{"observe_every_s": 1}`; read once, at the edge of a process. It is for tests and experiments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Times that a run goes by, all in seconds.

    Attributes:
        teardown_s: How long a teardown insists before it says what still bills; the guardian then
            goes on.
        hook_s: The same for Prefect's hook: the flow has insisted before it.
        grace_s: How long requests in flight may take to end after a limit was reached.
        settle_s: How long shards may take in all to end once the endpoint is gone.
        abandon_s: The same where the run has failed or was stopped: journals have what came.
        observe_every_s: How often the API is asked about the endpoint while rows are answered.
        observe_in_trouble_s: How often while requests fail and none is answered: an endpoint that
            somebody has stopped should be noticed before rows are given up for it.
        heartbeat_s: How often a lease is renewed.
        lifetime_s: How far ahead the time in an endpoint's name is at most: past it, any sweep
            ends the endpoint. Names cannot be changed, so that a run that lasts longer moves to
            another endpoint. The shorter, the sooner a sweep without the lease ends what a lost
            machine left; the longer, the fewer cold starts.
        move_before_s: How long before the time in its name an endpoint is given up.
        cancel_poll_s: How often a run asks Prefect whether it was suspended, paused or cancelled.
        write_hang_s: How long one write of answers may take. A busy disk takes seconds, and the
            server of a network's disk is restarted within a minute or two.
        idle_s: How long an endpoint may be asked nothing although rows are left: one row group of
            an input far away takes minutes to come.
        silence_s: How long a run may give no heartbeat before its guardian ends its endpoint.
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
        """Read MAYFLY_TIMEOUTS; unset, all are as they are here.

        Raises:
            BadRequest: It is no JSON object of these fields with numbers.
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
