"""Free capacity by instance type and region."""

from collections.abc import Callable, Sequence
from typing import Any

from together_emulator.state.catalogue import Catalogue, InstanceType, Room

_SHOWN_AT_MOST = 8
"""Headroom above this is reported as a lower bound."""


class Capacity:
    """Allocates and releases free replicas."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._rooms: dict[tuple[str, str], Room] = {}
        self._free: dict[tuple[str, str], int] = {}
        for kind in catalogue.hardware:
            for room in kind.rooms:
                self._rooms[kind.name, room.region] = room
                self._free[kind.name, room.region] = room.replicas
        self._listeners: list[Callable[[], None]] = []

    def on_free(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever capacity may have become free."""
        self._listeners.append(listener)

    def regions(self, hardware: str | None = None) -> set[str]:
        """Return the regions that offer an instance type (or any)."""
        return {region for name, region in self._rooms if hardware in (None, name)}

    def free(self, hardware: str, region: str) -> int:
        """Return the number of free replicas."""
        return self._free[hardware, region]

    def fits(self, hardware: str) -> bool | None:
        """Whether a replica fits in any region; None if there is no such capacity at all."""
        if any(self._free[key] > 0 for key in self._rooms if key[0] == hardware):
            return True
        ever = any(room.replicas for key, room in self._rooms.items() if key[0] == hardware)
        return False if ever else None

    def take(
        self, hardware: str, regions: Sequence[str], *, required: bool, hipaa: bool
    ) -> str | None:
        """Allocate one replica; return its region, or None if there is no capacity.

        Args:
            regions: Preferred regions; none for all.
            required: Whether only those may be used.
            hipaa: Whether only attested regions may be used.
        """
        offered = [
            region
            for name, region in self._rooms
            if name == hardware and (self._rooms[name, region].hipaa or not hipaa)
        ]
        offered.sort(key=lambda region: (-self._free[hardware, region], region))
        wanted = [region for region in regions if region in offered] if regions else offered
        others = [] if required and regions else [r for r in offered if r not in wanted]
        for region in (*wanted, *others):
            if self._free[hardware, region] > 0:
                self._free[hardware, region] -= 1
                return region
        return None

    def give_back(self, hardware: str, region: str) -> None:
        """Release the capacity of one replica."""
        self._free[hardware, region] += 1
        self._freed()

    def set_free(self, hardware: str, region: str | None, replicas: int) -> None:
        """Set the number of free replicas, in one region or in every one (KeyError)."""
        keys = [
            key
            for key in self._rooms
            if key[0] == hardware and (region is None or key[1] == region)
        ]
        if not keys:
            raise KeyError(f"{hardware} is not offered{f' in {region}' if region else ''}")
        for key in keys:
            self._free[key] = replicas
        self._freed()

    def _freed(self) -> None:
        for listener in self._listeners:
            listener()

    def wire_regions(self, kind: InstanceType) -> list[dict[str, Any]]:
        """Return the `regions` of an instance type with their headroom.

        Source: Together API, GET /v2/public/inference-instance-types.
        """
        return [self._wire_region(kind.name, room) for room in kind.rooms]

    def _wire_region(self, hardware: str, room: Room) -> dict[str, Any]:
        region: dict[str, Any] = {"name": room.region}
        free = self._free[hardware, room.region]
        headroom = _headroom(room, free)
        if headroom is not None:
            region["headroom"] = headroom
            if room.hipaa:
                region["compliance"] = [{"headroom": headroom, "policy": {"hipaa": True}}]
        return region

    def snapshot(self) -> list[dict[str, Any]]:
        """Return the free capacity of all regions."""
        return [
            {"hardware": hardware, "region": region, "free": free}
            for (hardware, region), free in self._free.items()
        ]


def _headroom(room: Room, free: int) -> dict[str, Any] | None:
    if room.shown == "hidden":
        return None
    if room.shown == "bound":
        # A relation without a value is valid, but its meaning is not documented.
        return {"relation": "RELATION_GTE"}
    if room.shown == "capped" and free > _SHOWN_AT_MOST:
        return {"relation": "RELATION_GTE", "value": _SHOWN_AT_MOST}
    return {"relation": "RELATION_EQ", "value": free}
