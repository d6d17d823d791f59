"""The cost of replicas: started minutes times the price."""

import math


def billed_minutes(replica_s: float) -> int:
    """Return the started minutes in `replica_s` seconds of one replica."""
    return max(0, math.ceil(replica_s / 60 - 1e-9))


def cost_usd(replica_s: float, price_usd_per_h: float) -> float:
    """Return the dollars for `replica_s` seconds of one replica, by started minutes."""
    return billed_minutes(replica_s) * price_usd_per_h / 60
