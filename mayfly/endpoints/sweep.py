"""Sweep: find endpoints of leases, or with mayfly names, without a live owner, and end them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mayfly.clock import SYSTEM_CLOCK, Clock
from mayfly.endpoints.cleanup import end_on
from mayfly.endpoints.process_liveness import owner_is_alive
from mayfly.endpoints.sweep_policy import IDLE_S, Judgement, judge, judge_damaged
from mayfly.models.endpoint import PREFIX, Api, EndpointName, EndpointRef, Observation, Use
from mayfly.models.errors import BadRequest, CredentialsRefused, MayflyError, RetryableError
from mayfly.models.lease import HEARTBEAT_S, WATCH_S, Lease
from mayfly.storage.lease_store import DamagedLease, LeaseStore
from mayfly.together.connection import Connection
from mayfly.together.control_plane import ControlPlane
from mayfly.together.factory import connect
from mayfly.together.retry import with_retries
from mayfly.together.teardown import tear_down

BUDGET_S = 300.0

GENERATIONS: tuple[Api, ...] = ("v2", "v1")


@dataclass(slots=True)
class SweepReport:
    """The result of a sweep.

    Attributes:
        found: One record per endpoint or lease: name, API, verdict, reason and action.
        failed: Messages about endpoints that could not be ended or checked, and may still bill.
        damaged: Lease files that cannot be read and whose endpoint could not be ended.
        notes: Further messages for people.
        missing: Damaged leases by name whose endpoint does not exist in this generation.
    """

    dry_run: bool
    found: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missing: dict[str, DamagedLease] = field(default_factory=dict)

    @property
    def ended(self) -> int:
        """Number of endpoints that were ended."""
        return sum(entry["done"] == "ended" for entry in self.found)

    def lines(self) -> list[str]:
        """Return the report for people."""
        found = [f"{e['name']}: {e['done']} ({e['why']})" for e in self.found]
        return [*found, *self.failed, *self.damaged, *self.notes] or [
            "no endpoint of mayfly was found"
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "dry_run": self.dry_run,
            "ended": self.ended,
            "found": self.found,
            "failed": self.failed,
            "damaged": self.damaged,
            "notes": self.notes,
        }


def sweep_all(
    connection: Connection,
    store: LeaseStore,
    *,
    apis: Sequence[Api] = GENERATIONS,
    dry_run: bool,
    on_step: Callable[[str], None] = lambda _text: None,
) -> SweepReport:
    """Sweep API generations one after another; return one report.

    Raises:
        BadRequest, RetryableError: None of them could be reached.
    """
    whole = SweepReport(dry_run=dry_run)
    parts: list[SweepReport] = []
    refused: list[MayflyError] = []
    for api in apis:
        try:
            with connect(api, connection, log=on_step) as plane:
                part = sweep(plane, store, connection, dry_run=dry_run, on_step=on_step, apis=apis)
        except (BadRequest, CredentialsRefused) as error:
            refused.append(error)
            whole.notes.append(f"API {api} was not swept: {error}")
        except RetryableError as error:
            refused.append(error)
            whole.failed.append(
                f"API {api} could not be reached; endpoints of mayfly there may bill: {error}"
            )
        except MayflyError as error:
            # An API generation that no longer exists has nothing to sweep.
            refused.append(error)
            whole.notes.append(f"API {api} was not swept: {error}")
        else:
            whole.found += part.found
            whole.failed += part.failed
            whole.notes += part.notes
            parts.append(part)
    if len(refused) == len(apis):
        raise refused[0]
    # The other generation may have ended the endpoint.
    open_still = {str(lease) for lease in store.list().damaged}
    unresolved = {line for part in parts for line in part.damaged} & open_still
    for name, lease in parts[0].missing.items():
        if all(name in part.missing for part in parts) and not refused and not dry_run:
            store.remove_damaged(lease)
            unresolved.discard(str(lease))
            whole.notes.append(f"lease {lease.path} removed: damaged, and {name} does not exist")
    whole.damaged = sorted(unresolved)
    return whole


def sweep(
    plane: ControlPlane,
    store: LeaseStore,
    connection: Connection,
    *,
    dry_run: bool,
    on_step: Callable[[str], None] = lambda _text: None,
    apis: Sequence[Api] = (),
    watch_s: float = WATCH_S,
    budget_s: float = BUDGET_S,
    clock: Clock = SYSTEM_CLOCK,
) -> SweepReport:
    """Judge all endpoints and leases of one generation, and end those without a live owner.

    Args:
        apis: All generations of this sweep: leases of the others are not reported here.
        watch_s: Seconds to wait for heartbeats of owners that cannot be checked.
        budget_s: How long the teardown of one endpoint may take, in seconds.
    """
    return _Sweep(plane, store, connection, dry_run, on_step, budget_s, clock).run(apis, watch_s)


class _Sweep:
    """The sweep of one generation."""

    def __init__(
        self,
        plane: ControlPlane,
        store: LeaseStore,
        connection: Connection,
        dry_run: bool,  # noqa: FBT001 - as given
        on_step: Callable[[str], None],
        budget_s: float,
        clock: Clock,
    ) -> None:
        self._plane, self._store, self._connection = plane, store, connection
        self._on_step, self._budget_s, self._clock = on_step, budget_s, clock
        self.report = SweepReport(dry_run=dry_run)

    def run(self, apis: Sequence[Api], watch_s: float) -> SweepReport:
        """Judge all endpoints and leases, one after another."""
        refs = with_retries(lambda: self._plane.list_endpoints(f"{PREFIX}-"), log=self._on_step)
        listed = {ref.name: ref for ref in refs}
        leases = self._store.list()
        leased = {
            lease.name: lease
            for lease in leases.open
            if lease.ref.api == self._plane.api or lease.ref.api not in apis
        }
        others = {lease.name for lease in leases.open} - leased.keys()
        damaged = {each.name: each for each in leases.damaged}
        silent = self._watch([*leased.values(), *leases.damaged], watch_s)
        for name in sorted((listed.keys() | leased.keys() | damaged.keys()) - others):
            if name in damaged:
                self._damaged(damaged[name], listed.get(name), silent=name in silent)
            else:
                self._each(name, listed.get(name), leased.get(name), silent=name in silent)
        return self.report

    def _watch(self, leases: Sequence[Lease | DamagedLease], watch_s: float) -> set[str]:
        """Return the names of leases whose owner cannot be checked and sends no heartbeat."""
        now = self._clock.time()
        suspects = {
            each.name: each.heartbeat_at
            for each in leases
            if isinstance(each, DamagedLease) or owner_is_alive(each.owner) is None
        }
        # A recent heartbeat needs no wait; one in the future is by another machine's clock.
        suspects = {
            name: at for name, at in suspects.items() if not 0 <= now - at <= 2 * HEARTBEAT_S
        }
        if suspects and watch_s:
            self._on_step(
                f"waiting {watch_s:.0f} s for heartbeats of {len(suspects)} lease(s) of other "
                "machines"
            )
            self._clock.sleep(watch_s)
        return {name for name, at in suspects.items() if self._store.heartbeat(name) == at}

    def _each(
        self, name: str, ref: EndpointRef | None, lease: Lease | None, *, silent: bool
    ) -> None:
        if ref is None and lease is not None and lease.ref.api == self._plane.api:
            # An existing endpoint used by a run has another name, and a list may lag behind.
            ref = self._plane.find(name)
        seen, use = self._use(name, ref) if lease is None and ref is not None else (None, None)
        judgement = judge(
            name=name,
            exists=ref is not None,
            lease=lease,
            namespace=self._connection.namespace,
            provider=self._connection.provider,
            project=self._plane.project,
            api=self._plane.api,
            owner_alive=None if lease is None else owner_is_alive(lease.owner),
            now=self._plane.now(),
            silent=silent,
            seen=seen,
            use=use,
        )

        def close() -> None:
            assert lease is not None  # noqa: S101 - only leases are closed
            self._store.close(lease)

        def end() -> None:
            if lease is not None:
                end_on(
                    self._plane,
                    lease,
                    line="sweep",
                    store=self._store,
                    budget_s=self._budget_s,
                    on_step=self._on_step,
                    clock=self._clock,
                )
            else:
                self._end(ref)

        self._carry_out(name, judgement, close=close, end=end)

    def _damaged(self, lease: DamagedLease, ref: EndpointRef | None, *, silent: bool) -> None:
        judgement = judge_damaged(
            lease.name,
            exists=ref is not None,
            namespace=self._connection.namespace,
            silent=silent,
        )
        if judgement.verdict == "close the lease":
            # The other generation may have it: keep the file until both were checked.
            self.report.damaged.append(str(lease))
            self.report.missing[lease.name] = lease
            return

        def end() -> None:
            self._end(ref)
            self._store.remove_damaged(lease)

        self._carry_out(lease.name, judgement, close=lambda: None, end=end)
        if judgement.verdict == "leave":
            self.report.damaged.append(str(lease))

    def _use(self, name: str, ref: EndpointRef) -> tuple[Observation | None, Use | None]:
        """Fetch the use of an endpoint without a lease, if it is in this namespace."""
        ours = EndpointName.parse(name)
        mine = ours is not None and ours.namespace == self._connection.namespace
        if ours is None or not mine or self._plane.now() >= ours.until:
            return None, None
        try:
            return (
                with_retries(lambda: self._plane.observe(ref), log=self._on_step),
                with_retries(lambda: self._plane.last_use(ref, within_s=IDLE_S), log=self._on_step),
            )
        except MayflyError as error:
            self.report.notes.append(f"{name}: the API did not report its use: {error}")
            return None, None

    def _end(self, ref: EndpointRef | None) -> None:
        assert ref is not None  # noqa: S101 - without a lease it was listed
        tear_down(
            self._plane,
            ref,
            policy="delete",
            line="sweep",
            budget_s=self._budget_s,
            on_step=self._on_step,
            now=self._clock.time,
            clock=self._clock.monotonic,
            sleep=self._clock.sleep,
        )

    def _carry_out(
        self,
        name: str,
        judgement: Judgement,
        *,
        close: Callable[[], None],
        end: Callable[[], None],
    ) -> None:
        dry = self.report.dry_run
        action: Callable[[], None] | None
        match judgement.verdict:
            case "leave":
                done, action = "left", None
            case "close the lease":
                done, action = "lease would be closed" if dry else "lease closed", close
            case "end":
                done, action = "would be ended" if dry else "ended", end
        if action is not None and not dry:
            try:
                action()
            except MayflyError as error:
                done = "could not be ended"
                self.report.failed.append(str(error))
        self.report.found.append(
            {
                "name": name,
                "api": self._plane.api,
                "verdict": judgement.verdict,
                "why": judgement.why,
                "done": done,
            }
        )
