"""Load a catalogue from a JSON or TOML file.

Its fields are those of `Model`, `Profile`, `InstanceType`, `Room` and `Revision`; missing ones have
defaults. With `extend = true` it extends the default catalogue, and replaces models and instance
types of the same name.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from together_emulator.state.catalogue import (
    OWN_SLUG,
    Catalogue,
    InstanceType,
    Model,
    Profile,
    Room,
)
from together_emulator.state.default_catalogue import default_catalogue, default_hardware
from together_emulator.state.revisions import Revision

T = TypeVar("T")
_CHOICES = {
    "kind": ("chat", "embedding"),
    "thinking": ("never", "asked", "default", "always"),
    "weights": ("DEFAULT", "ADAPTER", "SPECULATOR"),
    "adapter_mode": ("disabled", "fixed", "dynamic"),
    "shown": ("capped", "count", "bound", "hidden"),
}


def load_catalogue(path: Path) -> Catalogue:
    """Read a catalogue file (ValueError says what is wrong, and where)."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ValueError(f"catalogue {path}: {error.strerror}") from None
    try:
        text = raw.decode()
        given = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise ValueError(f"catalogue {path}: {error}") from None
    try:
        return read_catalogue(given)
    except ValueError as error:
        raise ValueError(f"catalogue {path}: {error}") from None


def read_catalogue(given: Any) -> Catalogue:
    """Return the catalogue that a decoded file describes (ValueError)."""
    table = _table(given, "the file", ("extend", "models", "hardware"))
    models = [_model(entry, f"models[{i}]") for i, entry in _list(table, "models")]
    hardware = [_hardware(entry, f"hardware[{i}]") for i, entry in _list(table, "hardware")]
    if not table.get("extend", False):
        if not models:
            raise ValueError("models is empty (extend = true keeps the default ones)")
        return Catalogue(models=tuple(models), hardware=tuple(hardware) or default_hardware())
    default = default_catalogue()
    all_models = {m.name: m for m in (*default.models, *models)}
    all_hardware = {kind.name: kind for kind in (*default.hardware, *hardware)}
    return Catalogue(models=tuple(all_models.values()), hardware=tuple(all_hardware.values()))


def _model(entry: Any, where: str) -> Model:
    known = [field.name for field in fields(Model) if field.init]
    given = dict(_table(entry, where, known))
    name = str(given.get("name") or "")
    if given.get("own") and name and not name.startswith(f"{OWN_SLUG}/"):
        name = given["name"] = f"{OWN_SLUG}/{name}"
    publisher, _, bare = name.rpartition("/")
    table: dict[str, Any] = {
        "display_name": bare,
        "publisher": publisher,
        "architecture": "",
        "parameters": 0,
        "context_length": 32_768,
    } | given
    table["profiles"] = tuple(
        _profile(profile, f"{where}.profiles[{i}]") for i, profile in _list(table, "profiles")
    )
    table["revisions"] = tuple(
        _made(Revision, revision, f"{where}.revisions[{i}]")
        for i, revision in _list(table, "revisions")
    )
    if table.get("own") and not table["revisions"]:
        table["revisions"] = (Revision(label="1"),)
    for several in ("inputs", "tags", "serverless_usd"):
        if isinstance(table.get(several), list):
            table[several] = tuple(table[several])
    return _made(Model, table, where)


def _profile(entry: Any, where: str) -> Profile:
    table = _table(entry, where, [field.name for field in fields(Profile)])
    count = str(table.get("hardware", "1x")).split("x", 1)[0]
    defaults = {
        "quantization": "FP8",
        "parallelism": f"TP{count}",
        "decoding_tps": None,
        "ttft_ms": None,
        "max_context": None,
    }
    if table.get("decoding_tps") is not None:
        # The published speed is the served one, unless the file sets another.
        defaults["served_tps"] = table["decoding_tps"]
    if table.get("ttft_ms") is not None:
        defaults["served_ttft_s"] = table["ttft_ms"] / 1000
    return _made(Profile, defaults | dict(table), where)


def _hardware(entry: Any, where: str) -> InstanceType:
    table = dict(_table(entry, where, [field.name for field in fields(InstanceType)]))
    table["rooms"] = tuple(
        _made(Room, room, f"{where}.rooms[{i}]") for i, room in _list(table, "rooms")
    )
    return _made(InstanceType, table, where)


def _made(kind: type[T], entry: Any, where: str) -> T:
    known = [field for field in fields(kind) if field.init]  # type: ignore[arg-type]
    table = _table(entry, where, [field.name for field in known])
    for field in known:
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in table:
            raise ValueError(f"{where}: {field.name} is missing")
        allowed = _CHOICES.get(field.name)
        if allowed and field.name in table and table[field.name] not in allowed:
            raise ValueError(f"{where}.{field.name} must be one of {', '.join(allowed)}")
    return kind(**table)


def _table(given: Any, where: str, known: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise ValueError(f"{where} must be a table (an object)")  # noqa: TRY004 - one kind of error
    for name in given:
        if name not in known:
            raise ValueError(f"{where}: unknown field {name!r}")
    return given


def _list(table: Mapping[str, Any], name: str) -> list[tuple[int, Any]]:
    given = table.get(name) or ()
    if not isinstance(given, list | tuple):
        raise ValueError(f"{name} must be a list")  # noqa: TRY004 - one kind of error
    return list(enumerate(given))
