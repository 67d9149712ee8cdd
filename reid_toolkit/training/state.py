"""The middle of a stage as a file: all that the next training step depends on.

No generator's state is among it: what is left to chance is drawn from (seed, stage, epoch) (``batches.py``).
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from reid_toolkit.errors import RunError
from reid_toolkit.training.tensor_files import load_tensors, save_tensors

MOMENTUM, ROWS, LABELS = "momentum.", "table.rows", "training.labels"
"""Names of the tensors that are not the network's, which have other prefixes."""

KEPT = 2
"""Files of the middle of a stage; the older one serves when the newer turns out damaged."""


class Place(NamedTuple):
    """So many steps into an epoch of a stage."""

    stage: int
    epoch: int = 0
    step: int = 0


@dataclass(frozen=True)
class State:
    """A run between two steps, or between two stages."""

    place: Place
    weights: dict[str, Tensor]
    momentum: dict[str, Tensor]
    """The optimiser's, by the parameter's name; empty at the beginning of a stage."""
    rows: Tensor | None
    """(C, E): the lookup table; None at the beginning of a stage, where it is made from the clusters."""
    labels: Tensor
    """(N,) int64: the clusters being learned."""
    loss_sum: float
    """Of the epoch's steps so far."""
    metrics: list[dict[str, Any]]
    """One row for each finished stage."""
    seconds: dict[str, float]
    """Of the stage so far, by phase."""
    recipe: str
    """TOML."""
    dataset: str
    """Fingerprint."""


def save_state(folder: Path, state: State) -> None:
    """Write a state within a stage into ``folder``, all or nothing; remove those before the last :data:`KEPT`."""
    assert state.rows is not None
    tensors = {**state.weights, **{MOMENTUM + name: value for name, value in state.momentum.items()}}
    tensors |= {ROWS: state.rows, LABELS: state.labels}
    fields = {name: getattr(state, name) for name in ("place", "loss_sum", "metrics", "seconds", "recipe", "dataset")}
    save_tensors(state_path(folder, state.place), tensors, {name: json.dumps(value) for name, value in fields.items()})
    remove_states(folder, keep=KEPT)


def load_state(folder: Path, place: Place) -> State:
    """Read a state's file; raises :class:`RunError` when it is damaged."""
    path = state_path(folder, place)
    tensors, header = load_tensors(path)
    try:
        fields = {name: json.loads(value) for name, value in header.items()}
        rows, labels = tensors.pop(ROWS), tensors.pop(LABELS)
        momentum = {name.removeprefix(MOMENTUM): tensors.pop(name) for name in [*tensors] if name.startswith(MOMENTUM)}
        fields["place"] = Place(*fields["place"])
        return State(weights=tensors, momentum=momentum, rows=rows, labels=labels, **fields)
    except (KeyError, ValueError, TypeError):
        raise RunError(f"{path}: not a state of a training run: parts are missing") from None


def state_path(folder: Path, place: Place) -> Path:
    return folder / f"state-{place.stage:03d}-{place.epoch:04d}-{place.step:06d}.safetensors"


def states(folder: Path) -> list[Place]:
    """Places whose states are in the folder, sorted."""
    found = (re.fullmatch(r"state-(\d+)-(\d+)-(\d+)\.safetensors", path.name) for path in folder.glob("state-*"))
    return sorted(Place(*map(int, match.groups())) for match in found if match)


def remove_states(folder: Path, *, keep: int = 0) -> None:
    """All but the last ``keep``."""
    for place in states(folder)[: -keep or None]:
        state_path(folder, place).unlink(missing_ok=True)
