"""Fault injection rules: which requests fail, and how.

A rule matches requests by method, path and body, fires on some of them, and has one action:

| action | what the client sees |
| --- | --- |
| `status` | that status, body and headers; no effect |
| `delay` | the real response, `delay_s` real seconds later (before its effect) |
| `hang_before`, `hang_after` | no response; without or with the effect |
| `reset_before`, `reset_after` | the connection is reset; without or with the effect |
| `drip` | the real response, in pieces of `piece_bytes`, `delay_s` real seconds before each |
| `truncate` | the real response's head and half of its body, then the end |
| `malformed` | 200 and truncated JSON |
| `not_json` | 200 and an HTML page |
| `vanish` | the endpoints with names that match `target` are removed, then the real response |
| `lose_replica` | their deployments lose a ready replica, then the real response |
| `fail_start` | the real response; the deployment it created or started then ends in FAILED |
"""

import random
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import orjson

Action = Literal[
    "status",
    "delay",
    "hang_before",
    "hang_after",
    "reset_before",
    "reset_after",
    "drip",
    "truncate",
    "malformed",
    "not_json",
    "vanish",
    "lose_replica",
    "fail_start",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """One rule.

    Attributes:
        method: Such as `POST`; None matches all.
        path, body: Regular expressions, searched in the path and in the raw body.
        nth: Numbers of the matching requests on which to fire, from 1; none for all.
        first: Maximum number of matching requests on which to fire.
        chance: Probability of firing on a matching request, by the server's seed.
        status, headers, json: The response of `status`; without `json` an error body in the API's
            format with `code` and `message`.
        delay_s: Real seconds, for `delay` and `drip`.
        piece_bytes: For `drip`.
        target: For `vanish` and `lose_replica`: searched in the endpoint's name.
        message: Message of the error body, or of the failed start.
    """

    action: Action
    method: str | None = None
    path: str = ""
    body: str = ""
    nth: tuple[int, ...] = ()
    first: int | None = None
    chance: float = 1.0
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    code: str | None = None
    message: str = "injected fault"
    delay_s: float = 0.0
    piece_bytes: int = 16
    target: str = ""

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> "FaultRule":
        """Create a rule from plain data (ValueError says what is wrong)."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(data.keys() - known):
            raise ValueError(f"fault rule: unknown field {unknown[0]!r}; known: {sorted(known)}")
        if data.get("action") not in get_args(Action):
            raise ValueError(
                f"fault rule: unknown action {data.get('action')!r}; "
                f"known: {', '.join(get_args(Action))}"
            )
        values = dict(data)
        nth = values.get("nth", ())
        values["nth"] = (nth,) if isinstance(nth, int) else tuple(nth)
        for name in ("path", "body", "target"):
            try:
                re.compile(values.get(name, ""))
            except (re.error, TypeError) as error:
                raise ValueError(f"fault rule: {name} is no regular expression: {error}") from None
        return cls(**values)


def load_rules(path: Path) -> list[FaultRule]:
    """Read rules from a JSON or TOML file: a list, or `rules` holding one (ValueError)."""
    raw = path.read_bytes()
    data = tomllib.loads(raw.decode()) if path.suffix == ".toml" else orjson.loads(raw)
    return read_rules(data)


def read_rules(data: Any) -> list[FaultRule]:
    """Create rules from a list, or from an object with a list `rules` (ValueError)."""
    if isinstance(data, Mapping):
        data = data.get("rules")
    if not isinstance(data, list) or not all(isinstance(rule, Mapping) for rule in data):
        raise ValueError("faults: give a list of rules, or an object with 'rules'")
    return [FaultRule.read(rule) for rule in data]


class Faults:
    """The rules of one server, with the number of matches of each."""

    def __init__(self, rules: Iterable[FaultRule], *, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - faults, not secrets
        self._rules: list[_Armed] = []
        self.replace(rules)

    def replace(self, rules: Iterable[FaultRule]) -> None:
        """Replace all rules; counts start at 0."""
        self._rules = [_Armed(rule) for rule in rules]

    def match(self, method: str, path: str, body: bytes) -> FaultRule | None:
        """Return the first rule that fires on this request; every matching rule counts it."""
        fired = None
        for armed in self._rules:
            if armed.matches(method, path, body) and armed.fires(self._random) and fired is None:
                fired = armed.rule
        return fired


class _Armed:
    def __init__(self, rule: FaultRule) -> None:
        self.rule = rule
        self._path = re.compile(rule.path)
        self._body = re.compile(rule.body.encode()) if rule.body else None
        self._matched = 0

    def matches(self, method: str, path: str, body: bytes) -> bool:
        return (
            self.rule.method in (None, method)
            and self._path.search(path) is not None
            and (self._body is None or self._body.search(body) is not None)
        )

    def fires(self, source: random.Random) -> bool:
        self._matched += 1
        if self.rule.nth and self._matched not in self.rule.nth:
            return False
        if self.rule.first is not None and self._matched > self.rule.first:
            return False
        return self.rule.chance >= 1 or source.random() < self.rule.chance
