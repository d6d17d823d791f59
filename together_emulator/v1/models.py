"""GET /v1/models: a bare list of models, as Together returns it.

Source: Together API, GET /v1/models (an array, unlike OpenAI's object).
"""

from typing import Any

from together_emulator.http.call import Call
from together_emulator.http.fields import flag
from together_emulator.state.catalogue import Model
from together_emulator.state.store import Store


def list_models(store: Store, call: Call) -> Any:
    """GET /v1/models; with `dedicated=true` those that can be deployed."""
    call.expect(query=("dedicated",))
    dedicated = flag(call.query, "dedicated")
    return [
        _model_json(model)
        for model in store.catalogue.supported
        if not dedicated or any(profile.published for profile in model.profiles)
    ]


def _model_json(model: Model) -> dict[str, Any]:
    usd_in, _, usd_out = model.serverless_usd or (0.0, 0.0, 0.0)
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "type": model.kind,
        "running": False,
        "display_name": model.display_name,
        "organization": model.publisher,
        "link": "",
        "license": "",
        "context_length": model.context_length,
        "pricing": {"hourly": 0, "input": usd_in, "output": usd_out, "base": 0, "finetune": 0},
    }
