"""Common steps of the emulator tests over plain HTTP."""

from typing import Any

import httpx

from together_emulator import Emulator

SMALL = "Qwen/Qwen2.5-7B-Instruct"
COLD_START_S = 400.0
"""Longer than the small model takes to serve."""
DRAIN_S = 30.0
"""Longer than an idle replica takes to drain."""


class EmulatorClient:
    """An emulator and a client of it.

    Attributes:
        http: Knows the address and the key.
        p: The project's path.
    """

    def __init__(self, emulator: Emulator, http: httpx.Client) -> None:
        self.emulator = emulator
        self.http = http
        self.p = f"/v2/projects/{emulator.project_id}"

    def profile(self, model: str = SMALL, hardware: str = "H100") -> dict[str, Any]:
        """Return a deployment profile of a model."""
        found = self.http.get("/v2/supported-models", params={"search": model}).json()["data"][0]
        return next(p for p in found["deploymentProfiles"] if p["gpuType"] == hardware)

    def endpoint(self, name: str = "batch") -> dict[str, Any]:
        """Create an endpoint."""
        return self._ok(self.http.post(f"{self.p}/endpoints", json={"name": name}))

    def body(
        self, *, name: str = "main", replicas: tuple[int, int] = (1, 1), **more: Any
    ) -> dict[str, Any]:
        """Return the body of a deployment."""
        profile = more.pop("profile", None) or self.profile()
        return {
            "name": name,
            "model": profile["model"],
            "config": profile["config"],
            "autoscaling": {"minReplicas": replicas[0], "maxReplicas": replicas[1]},
        } | more

    def deploy(self, endpoint: dict[str, Any], **body: Any) -> dict[str, Any]:
        """Create a deployment of an endpoint."""
        path = f"{self.p}/endpoints/{endpoint['id']}/deployments"
        return self._ok(self.http.post(path, json=self.body(**body)))

    def route(self, endpoint: dict[str, Any], *deployments: dict[str, Any]) -> None:
        """Send an endpoint's traffic to deployments, and let that come into force."""
        split = [{"deploymentId": d["id"], "weight": 1} for d in deployments]
        self._ok(
            self.http.patch(
                f"{self.p}/endpoints/{endpoint['id']}",
                params={"updateMask": "trafficSplit"},
                json={"trafficSplit": split},
            )
        )
        self.emulator.clock.advance(self.emulator.settings.routing_s)

    def serve(self, name: str = "batch", **body: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Create an endpoint with one routed deployment and wait until it is ready."""
        endpoint = self.endpoint(name)
        deployment = self.deploy(endpoint, **body)
        self.route(endpoint, deployment)
        self.emulator.clock.advance(COLD_START_S)
        return endpoint, deployment

    def path(self, deployment: dict[str, Any]) -> str:
        """Return a deployment's path."""
        return f"{self.p}/endpoints/{deployment['endpointId']}/deployments/{deployment['id']}"

    def get_deployment(self, deployment: dict[str, Any]) -> dict[str, Any]:
        """Read a deployment."""
        return self._ok(self.http.get(self.path(deployment)))

    def state(self, deployment: dict[str, Any]) -> str:
        """Read a deployment's state, without the prefix that all have."""
        state: str = self.get_deployment(deployment)["status"]["state"]
        return state.removeprefix("DEPLOYMENT_STATE_")

    def scale(self, deployment: dict[str, Any], smallest: int, largest: int) -> httpx.Response:
        """Request other replica bounds."""
        body = {"autoscaling": {"minReplicas": smallest, "maxReplicas": largest}}
        return self.http.patch(self.path(deployment), json=body)

    def chat(self, model: str, prompt: str = "Why?", **body: Any) -> httpx.Response:
        """Request a chat completion."""
        messages = [{"role": "user", "content": prompt}]
        return self.http.post(
            "/v1/chat/completions", json={"model": model, "messages": messages} | body
        )

    def in_flight(self) -> int:
        """Return how many requests all replicas work on."""
        deployments = self.http.get("/_emulator/deployments").json()["deployments"]
        return sum(deployment["in_flight"] for deployment in deployments)

    def _ok(self, response: httpx.Response) -> dict[str, Any]:
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer


def code(response: httpx.Response) -> tuple[int, str]:
    """Return a refusal's status and code."""
    return response.status_code, response.json()["error"]["code"]


def message(response: httpx.Response) -> str:
    """Return the message of a refusal."""
    words: str = response.json()["error"]["message"]
    return words


TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def user_messages(prompt: str = "Why?") -> Any:
    return [{"role": "user", "content": prompt}]
