"""A local Together AI emulator: dedicated endpoints and inference over real HTTP on loopback.

It speaks v2, the legacy v1, and inference; it has a clock, capacity, a bill and faults, and imports
nothing of the product that is tested against it.

| package | holds |
| --- | --- |
| `http` | server, routes, faults on the wire, the admin API |
| `state` | clock, catalogue, replicas, capacity, bill, journal: one life cycle for both APIs |
| `inference` | requests, routing, synthetic and real answers, and their timing |
| `v1`, `v2` | the management calls of the two API generations: wire formats of the same state |

In the process of a test, with a clock that is moved by the test:

    with Emulator(clock=ManualClock(), v1_create=True) as emulator:
        client = Together(base_url=emulator.url, api_key=emulator.key, ...)
        emulator.clock.advance(600)                  # emulated seconds; everything due happens
        emulator.use_faults(FaultRule(action="status", status=503, path="/chat/", first=2))
        emulator.set_free("1xnvidia-h100-80gb", 0)   # the next deployment goes DEGRADED
        emulator.lose_replica("name")                # as vanish(): a regular expression
        emulator.change(queue_per_replica=0)         # any field of Settings, while it runs
        emulator.ledger().billing, emulator.calls(), emulator.states(), emulator.endpoints()

Under a ManualClock answers come at once; with ManualClock(holds_answers=True) each waits until the
clock has been advanced past its end (`clock.sleepers` counts the waiting ones).

From another process (`mayfly emulator` or `python -m together_emulator`, which prints its URL
first), the same over `/_emulator/`, which needs no key, is not journalled and has no faults:

| call | does |
| --- | --- |
| GET ledger | the bill: `billing` now, `minutes`, `ready_s`, `usd`, and a line for each replica |
| GET calls?method=&path= | the journal: requests with `status`, `effect` and `fault` |
| GET, POST clock | emulated time; `{"advance_s": 600}` moves it, also one that runs |
| POST faults | replaces all rules by a list (`together_emulator.state.faults` has their table) |
| GET, POST capacity | free replicas; `{"hardware", "region"?, "free"}` |
| GET deployments | all of them, with state, requests in flight, and history of states |
| POST incidents | `{"action": "vanish"|"lose_replica"|"fail_start", "target"?, "message"?}` |
| GET, POST settings | how it behaves; `{"overload": 429}` |

Incidents match a legacy endpoint by its name and by its `display_name`; its hidden deployment is in
GET deployments. Legacy creates and restarts are rejected unless `v1_create` is set (`--v1-create`).
With `upstream` (`--upstream URL`) an OpenAI-compatible server answers inference requests, and
everything else is emulated. The user documentation is `docs/reference/emulator.md`.
"""

from together_emulator.http.server import Emulator
from together_emulator.state.clock import ManualClock, RealClock
from together_emulator.state.faults import FaultRule
from together_emulator.state.settings import Settings

__all__ = ["Emulator", "FaultRule", "ManualClock", "RealClock", "Settings"]
