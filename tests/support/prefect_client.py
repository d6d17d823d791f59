"""A Prefect server over its REST API."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from mayfly.storage.history_store import HISTORY
from tests.support.wait import wait_until

T = TypeVar("T")
EVERY_S = 0.25
"""Interval of polls: more often, they would be most of what the server does."""
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@dataclass(frozen=True, slots=True)
class PrefectClient:
    """A client of the session's Prefect server."""

    http: httpx.Client

    @property
    def api(self) -> str:
        """The address of the API."""
        return str(self.http.base_url).removesuffix("/")

    @property
    def ui(self) -> str:
        """The address of the UI."""
        return self.api.removesuffix("/api")

    def request(self, method: str, path: str, /, **body: Any) -> Any:
        """Call the API until it is not too busy to answer."""

        def call() -> httpx.Response | None:
            try:
                answer = self.http.request(method, path, json=body or None)
            except httpx.ReadError:
                # The server closes connections that were idle.
                return None
            return None if answer.status_code == 503 else answer

        answer = wait_until(call, f"an answer from {path}", every_s=EVERY_S)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def deployment(self, name: str) -> dict[str, Any]:
        """Return a Prefect deployment by `flow/name`."""
        found: dict[str, Any] = self.request("GET", f"/deployments/name/{name}")
        return found

    def deploy_again(
        self,
        name: str,
        pool: str,
        *,
        history: Path | None = None,
        one_at_a_time: bool = True,
        **more: Any,
    ) -> str:
        """Deploy the batch under another name, on a pool; return the deployment's id.

        Args:
            history: Folder of the history of its runs. Without it they plan from all runs of the
                session, which end whenever they do.
            one_at_a_time: Whether further runs wait, as with `mayfly deploy`.
        """
        there = self.deployment("batch-inference/batch-inference")
        kept = (
            "flow_id", "entrypoint", "path", "pull_steps", "parameter_openapi_schema",
            "job_variables", "tags",
        )  # fmt: skip
        body = {key: there[key] for key in kept} | more
        if one_at_a_time:
            body["concurrency_limit"] = 1
            body["concurrency_options"] = {"collision_strategy": "ENQUEUE"}
        if history is not None:
            own = {"env": {HISTORY: str(history)}}
            body["job_variables"] = body["job_variables"] | own
        made = self.request("POST", "/deployments/", name=name, work_pool_name=pool, **body)
        return str(made["id"])

    def start(self, parameters: dict[str, Any], name: str = "batch-inference") -> str:
        """Start a run of a deployment; return the run's id."""
        return self.start_of(str(self.deployment(f"{name}/{name}")["id"]), parameters)

    def start_of(self, deployment: str, parameters: dict[str, Any]) -> str:
        """Start a run of a deployment by its id; return the run's id."""
        path = f"/deployments/{deployment}/create_flow_run"
        return str(self.request("POST", path, parameters=parameters)["id"])

    def run_with(self, parameter: str, value: str) -> str:
        """Return the id of the flow run that was started with a value of a parameter."""

        def find_state() -> str | None:
            runs = self.request("POST", "/flow_runs/filter", sort="ID_DESC")
            return next(
                (str(r["id"]) for r in runs if r["parameters"].get(parameter) == value), None
            )

        return wait_until(find_state, f"a run with {parameter} {value}", every_s=EVERY_S)

    def batches(self) -> int:
        """Return how many flow runs of the batch there are; the sweep's schedule makes its own."""
        of_the_batch = {"name": {"any_": ["batch-inference"]}}
        return int(self.request("POST", "/flow_runs/count", flows=of_the_batch))

    def run(self, run: str) -> dict[str, Any]:
        """Return a flow run."""
        found: dict[str, Any] = self.request("GET", f"/flow_runs/{run}")
        return found

    def await_state(self, run: str, *types: str) -> dict[str, Any]:
        """Wait until a flow run is in one of these types of state, or in a final one."""
        wanted = set(types) or FINAL

        def find_state() -> dict[str, Any] | None:
            found = self.run(run)
            return found if found["state_type"] in wanted | FINAL else None

        try:
            found = wait_until(find_state, f"flow run {run} in {wanted}", every_s=EVERY_S)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.run(run)['state']}\n{self.logs(run)}") from None
        assert found["state_type"] in wanted, f"{found['state']}\n{self.logs(run)}"
        return found

    def question(self, run: str, key: str = "approval") -> str:
        """Return the text of a suspended run's dialog; Prefect stores it just after the state."""
        wanted = {"prefix": f"suspended-{key}-description", "limit": 1}
        (found,) = wait_until(
            lambda: self.request("POST", f"/flow_runs/{run}/input/filter", **wanted),
            f"the question of flow run {run}",
            every_s=EVERY_S,
        )
        return str(found["value"])

    def resume(self, run: str, **answer: Any) -> None:
        """Resume a flow run that waits, with the values of its dialog.

        Prefect stores a dialog's schema just after the state that says Paused: an answer in
        between is rejected, as it is in the UI, and given again.
        """

        def accepted() -> bool:
            taken = self.request("POST", f"/flow_runs/{run}/resume", run_input=answer)
            if taken["status"] == "ACCEPT":
                return True
            assert taken["details"]["reason"] == "Run input schema not found.", taken
            return False

        wait_until(accepted, f"flow run {run} takes {answer}", every_s=EVERY_S)

    def of_run(self, kind: str, run: str) -> list[dict[str, Any]]:
        """Return what belongs to a flow run: `artifacts`, `task_runs` or `logs`."""
        if kind == "logs":
            lines = self.request(
                "POST",
                "/logs/filter",
                logs={"flow_run_id": {"any_": [run]}},
                sort="TIMESTAMP_ASC",
                limit=200,
            )
            return list(lines)
        found = self.request("POST", f"/{kind}/filter", flow_runs={"id": {"any_": [run]}})
        return list(found)

    def artifact(self, run: str, key: str) -> dict[str, Any]:
        """Return a run's artifact by its key."""
        return next(found for found in self.of_run("artifacts", run) if found["key"] == key)

    def logs(self, run: str) -> str:
        """Return a flow run's log."""
        return "\n".join(str(line["message"]) for line in self.of_run("logs", run))

    def save_block(self, slug: str, block: str, /, **data: Any) -> dict[str, Any]:
        """Save a block of a type; return its document."""
        kind = self.request("GET", f"/block_types/slug/{slug}")
        schema = self.request(
            "POST", "/block_schemas/filter", block_schemas={"block_type_id": {"any_": [kind["id"]]}}
        )[0]
        saved: dict[str, Any] = self.request(
            "POST",
            "/block_documents/",
            name=block,
            data=data,
            block_type_id=kind["id"],
            block_schema_id=schema["id"],
        )
        return saved
