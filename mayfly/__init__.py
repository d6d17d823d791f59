"""Batch inference on Together AI dedicated endpoints that live exactly as long as the batch.

    import mayfly

    result = mayfly.run("questions.parquet", model="Qwen/Qwen3.5-9B", prompt="{{ question }}")
    result.to_pandas()

`run` and `plan` take the options of the command line as keywords, with underscores. The Prefect
flow behind both is `mayfly.batch_inference`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mayfly.api import Planned, Result, plan, run
    from mayfly.flows.batch_inference import batch_inference
    from mayfly.models.errors import BadRequest, MayflyError

__all__ = ["BadRequest", "MayflyError", "Planned", "Result", "batch_inference", "plan", "run"]

# Loaded on first use: a waiting guardian imports this package too, and must stay small.
_HOMES = {
    "BadRequest": "mayfly.models.errors",
    "MayflyError": "mayfly.models.errors",
    "Planned": "mayfly.api",
    "Result": "mayfly.api",
    "batch_inference": "mayfly.flows.batch_inference",
    "plan": "mayfly.api",
    "run": "mayfly.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mayfly' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - see above

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
