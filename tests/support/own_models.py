"""Own models of the emulated project: lookups over plain HTTP."""

from typing import Any

from tests.support.emulator_client import EmulatorClient
from together_emulator.state.catalogue import OWN_SLUG

FINE_TUNE = f"{OWN_SLUG}/support-classifier"


ADAPTER = f"{OWN_SLUG}/support-tone-lora"


UPLOAD = f"{OWN_SLUG}/house-style"


NO_CONFIG = f"{OWN_SLUG}/too-large"


def own(api: EmulatorClient, name: str) -> dict[str, Any]:
    """Return an own model's record by its name."""
    listed = api.http.get(f"{api.p}/models").json()["data"]
    found: dict[str, Any] = next(model for model in listed if model["name"] == name)
    return found


def configs(api: EmulatorClient, reference: str) -> list[dict[str, Any]]:
    """Return the configs of a reference model."""
    query = {"referenceModel": reference}
    found: list[dict[str, Any]] = api.http.get(f"{api.p}/configs", params=query).json()["data"]
    return found


def selectors(config: dict[str, Any]) -> dict[str, str]:
    """Return a config's selectors by key."""
    return {selector["key"]: selector["value"] for selector in config["selectors"]}


def path(model: dict[str, Any], revision: str = "") -> str:
    """Return a model's resource path, with a revision pinned if there is one."""
    pinned = f"/revisions/{revision}" if revision else ""
    return f"projects/{model['projectId']}/models/{model['id']}{pinned}"
