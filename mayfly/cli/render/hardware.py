"""Hardware with its price and free capacity."""

from collections.abc import Sequence

from mayfly.cli.render.fitting_table import Column, FittingTable
from mayfly.models.offers import Offer, RegionCapacity


def hardware_table(offers: Sequence[Offer]) -> FittingTable:
    """Return the hardware table; regions that do not fit are shown as a total."""
    return FittingTable(
        [
            Column(
                name="hardware",
                cells=[offer.label for offer in offers],
                narrower={2: [short_hardware(offer.label) for offer in offers]},
            ),
            Column(
                name="GPUs",
                cells=[str(o.gpu_count) for o in offers],
                right=True,
                narrower={3: None},
            ),
            Column(name="$/h", cells=[f"{o.price_usd_per_h:.2f}" for o in offers], right=True),
            Column(
                name="free",
                cells=[capacity(offer) for offer in offers],
                narrower={1: [capacity_in_short(offer) for offer in offers]},
            ),
        ]
    )


def short_hardware(hardware: str) -> str:
    """Return a hardware id without the vendor."""
    return hardware.replace("nvidia-", "")


def capacity(offer: Offer) -> str:
    """Return the free replicas by region."""
    if offer.availability or not offer.regions:
        return offer.availability or "unknown"
    return ", ".join(str(region) for region in offer.regions)


def capacity_in_short(offer: Offer) -> str:
    """Return the free replicas of all regions together."""
    if offer.availability or not offer.regions:
        return offer.availability or "unknown"
    regions = offer.regions
    where = f"{len(regions)} regions" if len(regions) > 1 else regions[0].name
    return f"{_sum(regions)} in {where}"


def _sum(regions: Sequence[RegionCapacity]) -> str:
    known = [region.free for region in regions if region.free is not None]
    more = any(region.free is None or region.at_least for region in regions)
    free = sum(known)
    # Known regions have none and others are unknown: the total is unknown.
    return "?" if more and not free else f"{free}{'+' if more else ''}"
