"""The v2 wire format of endpoints and deployments: camelCase, int64s as strings.

Source: Together API, v2 endpoints and deployments.
"""

from typing import Any

from together_emulator.inference.routing import traffic_shares
from together_emulator.state.store import Deployment, Endpoint, State, Step, Store

_NEWEST = 10
"""Number of deployments in an endpoint's summary."""

ENGINE = {
    "engineType": "vllm",
    "engineVersion": "0.11.0",
    "functionCallingSupported": True,
    "structuredOutputSupported": True,
}


def endpoint_name(store: Store, endpoint: Endpoint) -> str:
    """Return `<slug>/<endpoint>`."""
    return f"{store.slug}/{endpoint.name}"


def deployment_name(store: Store, deployment: Deployment) -> str:
    """Return `<slug>/<endpoint>/<deployment>`."""
    return f"{store.slug}/{store.endpoints[deployment.endpoint_id].name}/{deployment.name}"


def model_resource(deployment: Deployment) -> str:
    """Return the pinned model's resource name."""
    return f"{deployment.model.resource}/revisions/{deployment.revision}"


def endpoint_json(store: Store, endpoint: Endpoint) -> dict[str, Any]:
    """Return an endpoint with summaries of its newest deployments."""
    deployments = sorted(
        store.deployments_of(endpoint.id), key=lambda d: (d.created_s, d.id), reverse=True
    )
    shares = traffic_shares(store, endpoint)
    return {
        "id": endpoint.id,
        "name": endpoint_name(store, endpoint),
        "projectId": store.project_id,
        "endpointType": "ENDPOINT_TYPE_DEDICATED",
        "visibility": endpoint.visibility,
        "etag": endpoint.etag,
        "createdAt": store.wire_time(endpoint.created_s),
        "updatedAt": store.wire_time(endpoint.updated_s),
        "trafficSplit": [
            {"deploymentId": deployment_id, "weight": weight}
            for deployment_id, weight in endpoint.split.items()
        ],
        "deployments": [
            {
                "id": deployment.id,
                "name": deployment_name(store, deployment),
                "model": model_resource(deployment),
                "modelId": deployment.model.model_id,
                "state": deployment.state.value,
                "trafficMode": "TRAFFIC_MODE_LIVE",
                "autoscaling": autoscaling_json(deployment),
                "estimatedEffectiveTrafficShare": shares.get(deployment.id, 0.0),
                "createdAt": store.wire_time(deployment.created_s),
                "readyReplicas": deployment.ready,
                "desiredReplicas": deployment.desired,
                "hardware": deployment.hardware,
            }
            for deployment in deployments[:_NEWEST]
        ],
    }


def autoscaling_json(deployment: Deployment) -> dict[str, Any]:
    """Return a deployment's `autoscaling`."""
    smallest, largest = deployment.bounds
    return {"minReplicas": smallest, "maxReplicas": largest, **deployment.autoscaling}


def deployment_json(store: Store, deployment: Deployment) -> dict[str, Any]:
    """Return a complete deployment."""
    endpoint = store.endpoints[deployment.endpoint_id]
    answer: dict[str, Any] = {
        "id": deployment.id,
        "name": f"{store.slug}/{endpoint.name}/{deployment.name}",
        "projectId": store.project_id,
        "endpointId": deployment.endpoint_id,
        "model": model_resource(deployment),
        "modelId": deployment.model.model_id,
        "modelRevisionId": deployment.revision,
        "config": deployment.config.resource,
        "configId": deployment.config.id,
        "hardware": deployment.hardware,
        "autoscaling": autoscaling_json(deployment),
        "status": _status(deployment),
        "trafficMode": "TRAFFIC_MODE_LIVE",
        "etag": deployment.etag,
        "createdAt": store.wire_time(deployment.created_s),
        "updatedAt": store.wire_time(deployment.updated_s),
        "desiredReplicas": deployment.desired,
        "estimatedEffectiveTrafficShare": traffic_shares(store, endpoint).get(deployment.id, 0.0),
        "maxConcurrentRequestsPerReplica": str(deployment.concurrency),
        "runtimeInfo": ENGINE,
    }
    if deployment.inactive_timeout_min:
        answer["inactiveTimeout"] = deployment.inactive_timeout_min
    if deployment.placement is not None:
        answer["placement"] = deployment.placement
    return answer


def _status(deployment: Deployment) -> dict[str, Any]:
    placed = (Step.STARTING, Step.READY, Step.DRAINING)
    serving = (Step.READY,) if deployment.state is not State.STOPPING else (Step.DRAINING,)
    regions = sorted({r.region for r in deployment.replicas if r.region is not None})
    return {
        "state": deployment.state.value,
        "message": deployment.message,
        "readyReplicas": sum(r.bills for r in deployment.replicas if r.step in serving),
        "scheduledReplicas": sum(
            r.step in placed and r.region is not None for r in deployment.replicas
        ),
        "details": {
            "region": [
                {
                    "region": region,
                    "readyReplicas": sum(
                        r.region == region and r.bills and r.step in serving
                        for r in deployment.replicas
                    ),
                    "scheduledReplicas": sum(r.region == region for r in deployment.replicas),
                }
                for region in regions
            ]
        },
    }
