"""The manifest: the job, the shards of the input, which of them are done, and what runs cost."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from mayfly.models.job_reference import as_option
from mayfly.models.rows import Tally
from mayfly.models.shards import Shard

VERSION = 1

SHOWN_CHARACTERS = 60
"""Longer values are shortened in the differences of two manifests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything a later run needs to resume this one.

    Attributes:
        fingerprint: Ties outputs to job, input and provider; see `mayfly.models.job`.
        identity: The settings that determine the responses; `Job.identity()`.
        input: `Dataset.describe()`: uri, fingerprint, files, rows, columns, sources; and
            `before`, the fingerprint before files were added.
        provider: Identity of the API host.
        shards: The shards of the input, fixed for all later runs.
        done: Totals of each shard whose part is committed, by its index.
        created_at: Unix time, seconds.
        runs: One record per run, oldest first: started, ended, exit, cost, seconds per phase.
    """

    fingerprint: str
    identity: Mapping[str, Any]
    input: Mapping[str, Any]
    provider: str
    shards: tuple[Shard, ...]
    created_at: float
    done: Mapping[int, Tally] = field(default_factory=dict)
    runs: tuple[Mapping[str, Any], ...] = ()
    version: int = VERSION

    @property
    def rows(self) -> int:
        """Rows of the input, after the limit."""
        return sum(shard.rows for shard in self.shards)

    @property
    def left(self) -> list[Shard]:
        """Shards that are not done, in order."""
        return [shard for shard in self.shards if shard.index not in self.done]

    @property
    def tally(self) -> Tally:
        """Totals over the shards that are done."""
        return sum(self.done.values(), start=Tally())

    def with_done(self, index: int, tally: Tally) -> Self:
        """Return the manifest with a shard done (again)."""
        return replace(self, done={**self.done, index: tally})

    def with_left(self, indexes: Iterable[int]) -> Self:
        """Return the manifest with these shards marked as not done."""
        left = set(indexes)
        return replace(self, done={i: tally for i, tally in self.done.items() if i not in left})

    @property
    def sources(self) -> list[list[Any]]:
        """Name, rows and footer digest of each input file, in the order of the rows."""
        return [list(source) for source in self.input.get("sources", [])]

    def grows_into(self, later: "Manifest") -> bool:
        """Whether another job is this one with further input files after the known ones."""
        known = self.sources
        return (
            self.identity == later.identity
            and self.provider == later.provider
            and bool(known)
            and later.sources[: len(known)] == known
            and len(later.sources) > len(known)
        )

    def grown(self, later: "Manifest", more: Sequence[Shard]) -> Self:
        """Return the manifest with the input of a job that this one grows into.

        Args:
            more: The shards of the added files, numbered from 0.
        """
        at, rows = len(self.shards), self.rows
        moved = [
            Shard(index=at + shard.index, first_row=rows + shard.first_row, rows=shard.rows)
            for shard in more
        ]
        return replace(
            self,
            input={**later.input, "before": self.input["fingerprint"]},
            shards=(*self.shards, *moved),
        )

    def with_run(self, record: Mapping[str, Any]) -> Self:
        """Return the manifest with a run's record added."""
        return replace(self, runs=(*self.runs, record))

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "version": self.version,
            "fingerprint": self.fingerprint,
            "identity": dict(self.identity),
            "input": dict(self.input),
            "provider": self.provider,
            "rows": self.rows,
            "created_at": self.created_at,
            "shards": [
                {"index": shard.index, "first_row": shard.first_row, "rows": shard.rows}
                for shard in self.shards
            ],
            "done": {str(index): self.done[index]._asdict() for index in sorted(self.done)},
            "runs": [dict(run) for run in self.runs],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read what `as_dict` wrote.

        Raises:
            ValueError, TypeError, KeyError: Not a manifest, or one of a newer version of mayfly.
        """
        if value["version"] != VERSION:
            raise ValueError(f"version {value['version']} is not {VERSION}")
        return cls(
            fingerprint=value["fingerprint"],
            identity=dict(value["identity"]),
            input=dict(value["input"]),
            provider=value["provider"],
            created_at=value["created_at"],
            shards=tuple(Shard(**shard) for shard in value["shards"]),
            done={int(index): Tally(**tally) for index, tally in value["done"].items()},
            runs=tuple(dict(run) for run in value["runs"]),
        )


def differences(old: Manifest, new: Manifest) -> list[str]:
    """Return how a job differs from the one that a folder belongs to, one line per difference.

    A line is such as `--prompt was 'a', is 'b'`; empty for the same job.
    """
    lines = [
        f"{_option(name)} was {_shown(old.identity.get(name))}, is {_shown(new.identity.get(name))}"
        for name in dict.fromkeys([*old.identity, *new.identity])
        if old.identity.get(name) != new.identity.get(name)
    ]
    if old.provider != new.provider:
        lines.append(f"provider was {_shown(old.provider)}, is {_shown(new.provider)}")
    was, now = old.input["fingerprint"], new.input["fingerprint"]
    # The input's fingerprint covers the limit, which has its own line if it differs.
    if was not in (now, new.input.get("before")) and "--limit" not in _names(lines):
        lines += _file_lines(old, new) or [_input_line(old.input, new.input)]
    if not lines and old.fingerprint != new.fingerprint:
        lines.append(f"fingerprint was {old.fingerprint[:12]}, is {new.fingerprint[:12]}")
    return lines


def _option(name: str) -> str:
    """Return the option for a setting's name in an identity."""
    try:
        return as_option("rows.limit" if name == "limit" else name)
    except KeyError:
        return name


def _file_lines(old: Manifest, new: Manifest) -> list[str]:
    """Return which files of an input with the same URI differ; the first three by name."""
    if old.input["uri"] != new.input["uri"] or not old.sources:
        return []
    was = {name: rest for name, *rest in old.sources}
    now = {name: rest for name, *rest in new.sources}
    changed = [name for name in was if name in now and was[name] != now[name]]
    gone = [name for name in was if name not in now]
    fresh = [name for name in now if name not in was]
    lines = [
        f"input file {_some(names)} {what}"
        for names, what in ((changed, "has changed"), (gone, "no longer exists"))
        if names
    ]
    if fresh:
        lines.append(f"input file {_some(fresh)} is new (--incremental takes new files in)")
    return lines


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _names(lines: Iterable[str]) -> set[str]:
    return {line.partition(" ")[0] for line in lines}


def _input_line(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    was, now = (f"{value['uri']} ({value['rows']:,} rows)" for value in (old, new))
    if was == now:
        return f"input {was} has other content than it had"
    return f"input was {was}, is {now}"


def _shown(value: object) -> str:
    if value is None or value == []:
        return "unset"
    text = repr(value)
    if len(text) <= SHOWN_CHARACTERS:
        return text
    half = SHOWN_CHARACTERS // 2
    return f"{text[:half]}...{text[-half:]}"
