"""A project's own models in v2: fine-tunes, uploads and adapters, and the configs that run them.

Source: Together API, `GET P/models`, `P/models/{ml}/revisions`, `P/configs`, and the CLI of
together 3.1.
"""

import re
from dataclasses import dataclass
from typing import Any

from mayfly.models.catalogue import ModelEntry, ModelKind
from mayfly.models.errors import BadRequest
from mayfly.together.errors import Refused, translated
from mayfly.together.parsing import count, field, items, listed, must_be_json, needed, text

_PATH = re.compile(
    r"^projects/(?P<project>[^/]+)/models/(?P<model>[^/]+)(?:/revisions/(?P<revision>[^/]+))?$"
)
_ADAPTER, _DRAFT = "WEIGHTS_TYPE_ADAPTER", "WEIGHTS_TYPE_SPECULATOR"
_ATTACHES = ("fixed", "dynamic")
"""Adapter modes of configs that attach adapters to a deployment instead of merging one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnModel:
    """A model record.

    Attributes:
        path: `projects/{p}/models/{ml}`, without a revision.
        revision: The requested revision; "" for the newest.
        weights: The API's type of its weights.
        base, base_id: Path and id of the model that it was derived from; "" for none.
    """

    id: str
    name: str
    path: str
    revision: str = ""
    weights: str = ""
    base: str = ""
    base_id: str = ""
    context: int | None = None

    @property
    def kind(self) -> ModelKind:
        """The kind of own model."""
        if self.weights == _ADAPTER:
            return "adapter"
        return "draft" if self.weights == _DRAFT else "fine-tune"

    @property
    def resource(self) -> str:
        """The `model` of a deployment."""
        return f"{self.path}/revisions/{self.revision}" if self.revision else self.path


def is_reference(model: str) -> bool:
    """Whether a name is the id or path of an own model, not a name of the catalogue."""
    return model.startswith(("ml_", "projects/"))


def find_own(client: Any, project: str, model: str) -> OwnModel | None:
    """Return the model record of an id, a path or an own model's name; None if there is none.

    Raises:
        BadRequest: An invalid path.
    """
    if model.startswith("projects/"):
        match = _PATH.match(model)
        if match is None:
            raise BadRequest(
                f"--model {model}: write projects/PROJECT/models/ML or, with a revision, "
                "projects/PROJECT/models/ML/revisions/RV"
            )
        found = _record(client, match["project"], match["model"])
        found = found or OwnModel(
            id=match["model"],
            name=model,
            path=f"projects/{match['project']}/models/{match['model']}",
        )
        return _pinned(client, found, match["project"], match["revision"] or "")
    if model.startswith("ml_"):
        # An id that the project does not have may be the platform's: its configs show that.
        return _record(client, project, model) or OwnModel(id=model, name=model, path="")
    return next((own for own in own_models(client, project) if own.name == model), None)


def own_models(client: Any, project: str) -> list[OwnModel]:
    """List the model records of a project."""
    call = "list own models"
    found = listed(call, lambda: client.models.list(project_id=project))
    return [_read(call, entry, project) for entry in found]


def configs_of(client: Any, project: str, own: OwnModel, *, every: bool = False) -> list[Any]:
    """Return the configs that can run an own model: its own, else those of its base model.

    An adapter is merged into its base model when the endpoint starts; configs that attach
    adapters do not do that.

    Args:
        every: For full weights, include configs that attach adapters (for `--config`).
    """
    found: list[Any] = []
    if own.path:
        found = _configs(client, project, reference_model=own.path)
    elif own.id:
        found = _configs(client, project, reference_model_id=own.id)
    if not found and own.base:
        found = _configs(client, project, reference_model=own.base)
    elif not found and own.base_id:
        found = _configs(client, project, reference_model_id=own.base_id)
    plain = [config for config in found if adapter_mode(config) not in _ATTACHES]
    if own.kind == "adapter":
        return plain
    # Full weights run on configs that attach adapters as well, a little slower.
    return found if every or not plain else plain


def deployable(own: OwnModel, configs: list[Any]) -> OwnModel:
    """Return the record with the path by which it is deployed.

    Raises:
        BadRequest: It cannot be deployed; the message says what to do.
    """
    if own.kind == "draft":
        raise BadRequest(
            f"--model {own.name}: a draft model for speculative decoding is not deployed by "
            "itself; give the model that it drafts for"
        )
    if not configs:
        has_base = own.base or own.base_id
        raise BadRequest(
            f"--model {own.name}: "
            + ("neither it nor its base model has a config" if has_base else "it has no config")
            + " that can deploy it; ask Together for one, or fine-tune a model that has one "
            "(`mayfly models --mine` lists them)"
        )
    if own.path:
        return own
    # A model of the platform that is known only by id: its configs have its path.
    path = next((p for config in configs if (p := text(config, "reference_model"))), "")
    if not path:
        raise BadRequest(f"--model {own.name}: its configs do not name its path; give the path")
    return OwnModel(id=own.id, name=own.name, path=path)


def entry_of(own: OwnModel, configs: int | None, base: str) -> ModelEntry:
    """Return the entry for `mayfly models`."""
    return ModelEntry(
        name=own.name,
        id=own.id,
        kind=own.kind,
        base=base or own.base,
        configs=configs,
        context=own.context,
        modalities=(),
    )


def selectors_of(config: Any) -> dict[str, str]:
    """Return a config's selectors by key."""
    return {text(item, "key"): text(item, "value") for item in items(config, "selectors")}


def adapter_mode(config: Any) -> str:
    """Return a config's adapter mode: disabled, fixed or dynamic; "" if unknown."""
    selectors = selectors_of(config)
    said = selectors.get("adapter_mode") or selectors.get("adapterMode") or ""
    return said.removeprefix("ADAPTER_MODE_").lower()


def _configs(client: Any, project: str, **query: str) -> list[Any]:
    request = client.models.configs.list
    try:
        return listed("list configs", lambda: request(project_id=project, **query))
    except Refused as refusal:
        if refusal.status in (400, 404):
            return []
        raise


def _record(client: Any, project: str, model_id: str) -> OwnModel | None:
    call = f"get model {model_id}"
    try:
        with translated(call):
            found = client.models.retrieve(model_id, project_id=project)
    except Refused as refusal:
        if refusal.status in (403, 404):
            return None
        raise
    return _read(call, must_be_json(call, found), project)


def _pinned(client: Any, own: OwnModel, project: str, revision: str) -> OwnModel:
    """Return the record with a revision pinned.

    Raises:
        BadRequest: There is no such revision, or its validation has failed.
    """
    if not revision:
        return own
    call = f"list revisions of {own.id}"
    try:
        found = listed(call, lambda: client.models.list_revisions(own.id, project_id=project))
    except Refused:
        # The platform's models do not list revisions: the create call validates it.
        found = []
    states = {text(entry, "revision_id"): text(entry, "validation_status") for entry in found}
    states.pop("", None)  # An entry without a name says nothing about the others.
    usable = [name for name, state in states.items() if not state.endswith("FAILED")]
    if states and revision not in usable:
        why = "has failed its validation" if revision in states else "does not exist"
        raise BadRequest(
            f"--model {own.path}/revisions/{revision}: this revision {why}; "
            + (f"choose one of: {', '.join(usable[:5])}" if usable else "none can be deployed")
        )
    return OwnModel(
        id=own.id,
        name=own.name,
        path=own.path,
        revision=revision,
        weights=own.weights,
        base=own.base,
        base_id=own.base_id,
        context=own.context,
    )


def _read(call: str, value: Any, project: str) -> OwnModel:
    model_id = needed(call, value, "id")
    weights = field(value, "weights")
    return OwnModel(
        id=model_id,
        name=text(value, "name") or model_id,
        path=f"projects/{text(value, 'project_id') or project}/models/{model_id}",
        weights=text(weights, "type"),
        base=text(value, "base_model"),
        base_id=text(value, "base_model_id"),
        context=count(weights, "context_length"),
    )
