"""mayfly from Python: the job of `mayfly run` and `mayfly plan`, called as functions."""

from mayfly.api.calls import plan, run
from mayfly.api.options import Options
from mayfly.api.result import Planned, Result

__all__ = ["Options", "Planned", "Result", "plan", "run"]
