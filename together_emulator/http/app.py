"""The routes of the application."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from together_emulator.http.admin import Admin
from together_emulator.http.call import Call, Handler, json_response, listing, read_body, read_query
from together_emulator.http.disconnect import while_connected
from together_emulator.http.errors import ApiError, not_found
from together_emulator.http.gateway import BODY, INFERENCE, REQUEST_ID
from together_emulator.inference.handlers import Inference
from together_emulator.state.catalogue import PUBLIC_PROJECT
from together_emulator.state.store import Store
from together_emulator.v1 import adapters as v1_adapters
from together_emulator.v1 import hardware as v1
from together_emulator.v1 import models as v1_models
from together_emulator.v1.endpoints import LegacyCalls
from together_emulator.v2 import (
    adapters,
    configs,
    endpoints,
    identity,
    instance_types,
    models,
    supported_models,
)
from together_emulator.v2.analytics import analytics
from together_emulator.v2.deployments import DeploymentCalls
from together_emulator.v2.events import list_events

_P = "/v2/projects/{project}"
_EP = f"{_P}/endpoints/{{endpoint}}"
_ADAPTERS = f"{_EP}/deployments/{{deployment}}/adapters"
_READ_ONLY = ("/configs", "/models")


class Wire:
    """Converts requests to calls, and the results of handlers to responses."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def admit(self, request: Request) -> None:
        """Check the API key (401)."""
        if request.headers.get("authorization") != f"Bearer {self._store.settings.key}":
            raise ApiError(
                401,
                "Invalid API key provided. Give your key as 'Authorization: Bearer KEY'.",
                code="invalid_api_key",
            )

    def _own_project(self, request: Request) -> None:
        project = request.path_params.get("project")
        if project is None or project == self._store.project_id:
            return
        if project != PUBLIC_PROJECT:
            raise not_found("project", project)
        kind = request.url.path.split(project, 1)[1]
        if not kind.startswith(_READ_ONLY) or request.method != "GET":
            raise ApiError(
                403, f"the key has no access to project {project}", code="permission_denied"
            )

    def call(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """Return a route's function for a handler."""

        async def endpoint(request: Request) -> Response:
            self.admit(request)
            self._own_project(request)
            query = parse_qsl(request.url.query, keep_blank_values=True)
            call = Call(
                path=request.path_params,
                query=read_query(query),
                body=read_body(request.scope[BODY]),
            )
            answer = handler(self._store, call)
            return Response(status_code=204) if answer is None else json_response(answer)

        return endpoint

    def methods(self, handlers: Mapping[str, Handler]) -> Callable[[Request], Awaitable[Response]]:
        """Return a route's function that dispatches by method."""
        calls = {method: self.call(handler) for method, handler in handlers.items()}

        async def endpoint(request: Request) -> Response:
            # Starlette routes HEAD with GET; the server omits the body.
            method = "GET" if request.method == "HEAD" else request.method
            return await calls[method](request)

        return endpoint

    def route(self, path: str, **handlers: Handler) -> Route:
        """Return a route: methods as keywords, each with its handler."""
        return Route(path, self.methods(handlers), methods=list(handlers))

    def answer(
        self, handler: Callable[[Mapping[str, Any], str], Coroutine[Any, Any, Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return a route's function for inference."""

        async def endpoint(request: Request) -> Response:
            self.admit(request)
            answer = handler(read_body(request.scope[BODY]), request.scope[REQUEST_ID])
            if not self._store.settings.drops_abandoned:
                return await answer
            return await while_connected(request, answer)

        return endpoint


def _empty(store: Store, call: Call) -> Any:
    """Return an empty list, for resources that are not emulated."""
    if "endpoint" in call.path:
        store.endpoint(call.path["endpoint"])
    if "deployment" in call.path:
        store.deployment(call.path["endpoint"], call.path["deployment"])
    return listing([])


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, ApiError):
        store: Store = request.app.state.store
        body = error.body()
        if store.settings.errors == "rpc" and request.url.path.startswith("/v2/"):
            body = error.rpc_body()
        elif request.url.path in INFERENCE:
            body = {"id": request.scope[REQUEST_ID], **body}
        return json_response(body, error.status, error.headers)
    status = error.status_code if isinstance(error, HTTPException) else 500
    messages = {404: "no such path", 405: "the path does not know this method"}
    refusal = ApiError(status, messages.get(status, "refused"), code=f"http_{status}")
    return json_response(refusal.body(), status)


def build_app(
    store: Store,
    *,
    deployments: DeploymentCalls,
    legacy: LegacyCalls,
    inference: Inference,
    admin: Admin,
) -> Starlette:
    """Return the application behind the gateway."""
    wire = Wire(store)
    routes = [
        Route("/v1/chat/completions", wire.answer(inference.chat), methods=["POST"]),
        Route("/v1/completions", wire.answer(inference.complete), methods=["POST"]),
        Route("/v1/embeddings", wire.answer(inference.embed), methods=["POST"]),
        wire.route("/v1/models", GET=v1_models.list_models),
        wire.route("/v1/hardware", GET=v1.list_hardware),
        wire.route("/v1/clusters/availability-zones", GET=v1.list_zones),
        wire.route("/v1/endpoints", GET=legacy.list, POST=legacy.create),
        wire.route(
            "/v1/endpoints/{endpoint}", GET=legacy.get, PATCH=legacy.update, DELETE=legacy.delete
        ),
        wire.route("/v1/endpoints/{endpoint}/adapters", POST=v1_adapters.attach),
        wire.route("/v1/whoami", GET=v1.whoami),
        wire.route("/v3/whoami", GET=identity.whoami),
        wire.route("/v1/projects", GET=identity.list_projects),
        wire.route("/v2/supported-models", GET=supported_models.list_supported_models),
        wire.route("/v2/supported-models/{id}", GET=supported_models.get_supported_model),
        wire.route("/v2/public/inference-instance-types", GET=instance_types.list_instance_types),
        wire.route(
            "/v2/public/inference-instance-types/{id}", GET=instance_types.get_instance_type
        ),
        wire.route(f"{_P}/configs", GET=configs.list_configs),
        wire.route(f"{_P}/configs/{{id}}", GET=configs.get_config),
        wire.route(f"{_P}/models", GET=models.list_models),
        wire.route(f"{_P}/models/{{id}}", GET=models.get_model),
        wire.route(f"{_P}/models/{{id}}/revisions", GET=models.list_revisions),
        wire.route("/v2/organizations/{organization}/models", GET=models.list_organization_models),
        wire.route(f"{_P}/placement-profiles", GET=_empty),
        wire.route(f"{_P}/endpoints", GET=endpoints.list_endpoints, POST=endpoints.create_endpoint),
        wire.route(
            _EP,
            GET=endpoints.get_endpoint,
            PATCH=endpoints.update_endpoint,
            DELETE=endpoints.delete_endpoint,
        ),
        *(
            wire.route(f"{_EP}/{kind}", GET=_empty)
            for kind in ("rollouts", "abExperiments", "shadowExperiments")
        ),
        wire.route(f"{_EP}/events", GET=list_events),
        wire.route(f"{_EP}/analytics", GET=analytics),
        wire.route("/v2/organizations/{organization}/endpoints", GET=endpoints.list_shared),
        wire.route(f"{_EP}/deployments", GET=deployments.list, POST=deployments.create),
        wire.route(
            f"{_EP}/deployments/{{deployment}}",
            GET=deployments.get,
            PATCH=deployments.update,
            DELETE=deployments.delete,
        ),
        wire.route(_ADAPTERS, GET=adapters.list_adapters, POST=adapters.attach),
        wire.route(
            f"{_ADAPTERS}/{{adapter}}",
            GET=adapters.get,
            PATCH=adapters.update,
            DELETE=adapters.remove,
        ),
        *admin.routes(),
    ]
    app = Starlette(routes=routes, exception_handlers={ApiError: _refused, HTTPException: _refused})
    app.state.store = store
    return app
