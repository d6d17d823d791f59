"""A Together AI of one's own: dedicated endpoints and inference over real HTTP on loopback.

It imports nothing of the product that is tested against it.
"""

from emulator.clock import ManualClock, RealClock
from emulator.faults import FaultRule
from emulator.server import Emulator
from emulator.settings import Settings

__all__ = ["Emulator", "FaultRule", "ManualClock", "RealClock", "Settings"]
