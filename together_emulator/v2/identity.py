"""The identity of the key, and its projects.

Source: Together API, GET /v3/whoami and GET /v1/projects.
"""

from typing import Any

from together_emulator.http.call import Call
from together_emulator.http.filters import paged
from together_emulator.state.store import Store


def whoami(store: Store, call: Call) -> Any:
    """GET /v3/whoami."""
    call.expect()
    return {
        "type": "project_api_key",
        "api_key": {"id": store.api_key_id},
        "organization": {"id": store.organization_id, "name": store.organization_name},
        "project": {"id": store.project_id, "name": store.project_name, "slug": store.slug},
    }


def list_projects(store: Store, call: Call) -> Any:
    """GET /v1/projects."""
    call.expect(query=("after", "limit"))
    mine = {
        "id": store.project_id,
        "name": store.project_name,
        "slug": store.slug,
        "organization_id": store.organization_id,
        "organization_name": store.organization_name,
    }
    return paged(call.query, [(store.project_id, mine)])
