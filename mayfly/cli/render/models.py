"""The table of models that can be deployed."""

from collections.abc import Sequence

from mayfly.cli.render.fitting_table import Column, FittingTable
from mayfly.models.catalogue import ModelEntry


def model_table(entries: Sequence[ModelEntry], *, mine: bool) -> FittingTable:
    """Return the table of models; own models with their base model and number of configs."""
    columns = [Column(name="model", cells=[entry.name for entry in entries])]
    if mine:
        columns += [
            Column(name="kind", cells=[entry.kind for entry in entries]),
            Column(
                name="base model",
                cells=[entry.base or "-" for entry in entries],
                narrower={2: None},
            ),
        ]
    else:
        inputs = [", ".join(entry.modalities) or "-" for entry in entries]
        columns.append(Column(name="input", cells=inputs, narrower={2: None}))
    contexts = ["-" if entry.context is None else f"{entry.context:,}" for entry in entries]
    columns += [
        Column(name="context", cells=contexts, right=True, narrower={3: None}),
        Column(name="configs", cells=[_configs(entry) for entry in entries], right=True),
    ]
    if mine:
        columns.append(Column(name="id", cells=[entry.id for entry in entries], narrower={4: None}))
    else:
        prices = [_price(entry) for entry in entries]
        columns.append(Column(name="$/Mtok by token", cells=prices, right=True, narrower={1: None}))
    return FittingTable(columns, ["" if entry.configs else "dim" for entry in entries])


def _configs(entry: ModelEntry) -> str:
    if entry.configs is None:
        return "?"
    return str(entry.configs) if entry.configs else "none"


def _price(entry: ModelEntry) -> str:
    usd = entry.token_usd
    return "-" if usd is None else f"{usd[0]:g} in, {usd[1]:g} out"
