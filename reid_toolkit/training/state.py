"""Saves and reads states within a stage. A stopped run resumes at the last intact file.

A state contains all that the next training step depends on. It needs no generator's state, because random choices
depend only on (seed, stage, epoch), and those of layers also on the step and the process (``batches.py``).
"""

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from reid_toolkit.errors import RunError
from reid_toolkit.recipe_files import difference, dump_recipe, parse_recipe
from reid_toolkit.training.clock import Clock
from reid_toolkit.training.run_folder import RunFolder
from reid_toolkit.training.schedule import Place, plan
from reid_toolkit.training.step import Learner
from reid_toolkit.training.tensor_files import load_tensors, on_cpu, save_tensors

MOMENTUM, ROWS, LABELS = "momentum.", "table.rows", "training.labels"
"""Names of tensors that do not belong to the network, whose tensors have other prefixes."""

KEPT = 2
"""Number of states within a stage that are kept. The older one is used if the newer one is damaged."""


@dataclass(frozen=True)
class State:
    """A run between two steps, or between two stages."""

    place: Place
    weights: dict[str, Tensor]
    momentum: dict[str, Tensor]
    """The optimiser's state (``step.optimiser_state``); empty if the optimiser starts anew."""
    rows: Tensor | None
    """(C, E): the lookup table. None at the beginning of a stage, when it is made from the clusters."""
    labels: Tensor
    """(N,) int64: the clusters that are being learned."""
    loss_sum: float
    """Sum of the loss over the epoch's steps so far."""
    metrics: list[dict[str, Any]]
    """One row per finished stage."""
    seconds: dict[str, float]
    """Seconds of the stage so far, by phase."""
    recipe: str
    """The recipe, as TOML."""
    dataset: str
    """The dataset's fingerprint."""


def save_state(folder: Path, state: State) -> None:
    """Write a state within a stage into ``folder``, completely or not at all. Removes all but the last :data:`KEPT`."""
    assert state.rows is not None
    tensors = {**state.weights, **{MOMENTUM + name: value for name, value in state.momentum.items()}}
    tensors |= {ROWS: state.rows, LABELS: state.labels}
    fields = {name: getattr(state, name) for name in ("place", "loss_sum", "metrics", "seconds", "recipe", "dataset")}
    save_tensors(state_path(folder, state.place), tensors, {name: json.dumps(value) for name, value in fields.items()})
    remove_states(folder, keep=KEPT)


def load_state(folder: Path, place: Place) -> State:
    """Read a state's file. Raises :class:`RunError` if it is damaged."""
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
    """Return the places whose states are in the folder, sorted."""
    matches = (re.fullmatch(r"state-(\d+)-(\d+)-(\d+)\.safetensors", path.name) for path in folder.glob("state-*"))
    return sorted(Place(*map(int, match.groups())) for match in matches if match)


def remove_states(folder: Path, *, keep: int = 0) -> None:
    """Remove all states but the last ``keep``."""
    for place in states(folder)[: -keep or None]:
        state_path(folder, place).unlink(missing_ok=True)


def save_optimiser(folder: Path, stage: int, state: dict[str, Tensor]) -> None:
    """Write the state of an optimiser that is kept after ``stage``. Removes all but the last :data:`KEPT`.

    It has its own file, because the stage's checkpoint is kept for good and would be three times as large with it.
    """
    save_tensors(optimiser_path(folder, stage), on_cpu(state), {"stage": str(stage)})
    # Files of later stages are removed too. A run that had to go back to an earlier stage leaves such files.
    remove_optimisers(folder, keep=range(stage + 1 - KEPT, stage + 1))


def optimiser_path(folder: Path, stage: int) -> Path:
    return folder / f"optimiser-{stage:03d}.safetensors"


def optimisers(folder: Path) -> list[int]:
    """Return the stages whose optimisers are in the folder, sorted."""
    matches = (re.fullmatch(r"optimiser-(\d+)\.safetensors", path.name) for path in folder.glob("optimiser-*"))
    return sorted(int(match[1]) for match in matches if match)


def remove_optimisers(folder: Path, *, keep: Collection[int] = ()) -> None:
    """Remove all optimisers but those of the stages ``keep``."""
    for stage in set(optimisers(folder)) - set(keep):
        optimiser_path(folder, stage).unlink(missing_ok=True)


def usable_stages(folder: RunFolder, on_warning: Callable[[str], None]) -> list[int]:
    """Return the stages after which the run can resume. Adam's state is needed; a damaged file of it is set aside."""
    files, stages = folder.checkpoints, folder.stages()
    if folder.recipe().training.optimiser == "sgd":
        return stages
    kept = []
    for stage in optimisers(files):
        try:
            load_tensors(optimiser_path(files, stage))
            kept.append(stage)
        except RunError as error:
            set_aside(optimiser_path(files, stage), error, on_warning)
    return [stage for stage in stages if stage in kept or (stage == stages[-1] and is_last(folder, stage))]


def is_last(folder: RunFolder, stage: int) -> bool:
    """Whether the run ends after ``stage``, so that it needs no state to resume, or whether the stage's file is
    damaged."""
    try:
        done, recipe = folder.load(stage), folder.recipe()
    except RunError:
        return True
    row = done.metrics[-1]
    left = row["next_clusters"] > 1 if recipe.rounds.count else row["merges"] > 0
    return not left or len(done.metrics) >= plan(recipe, len(done.labels)).stages


def set_aside(path: Path, error: RunError, on_warning: Callable[[str], None]) -> None:
    """Rename a file that cannot be used, and warn."""
    aside = path.with_name(path.name + ".damaged")
    on_warning(f"{error}; it was renamed to {aside.name}")
    path.replace(aside)


def latest(folder: RunFolder, on_warning: Callable[[str], None]) -> State | None:
    """Read the last intact file: the end of a stage, or a place within one. Returns None if the run must begin anew.

    A file that is damaged, or that belongs to a run of another recipe or dataset, is renamed with a warning, and the
    file before it is used. Only time is lost.
    """
    files = folder.checkpoints
    if not files.is_dir():
        return None  # not a run of ours, or no file yet
    for path in (*folder.path.glob(".*.partial*"), *files.glob(".*.partial*")):
        path.unlink()  # left by a process that was killed while it wrote
    if not (folder.path / "run.json").exists():
        return None
    recipe, fingerprint = folder.recipe(), folder.dataset()
    stages = usable_stages(folder, on_warning)
    candidates: list[tuple[Place, Path, Callable[[], State]]] = [
        *((Place(stage + 1), folder.stage_path(stage), partial(after, folder, stage)) for stage in stages),
        *((place, state_path(files, place), partial(load_state, files, place)) for place in states(files)),
    ]
    for _, path, load in sorted(candidates, key=lambda each: each[0], reverse=True):
        try:
            state = load()
            if state.dataset != fingerprint or difference(parse_recipe(state.recipe), recipe):
                raise RunError(f"{path}: belongs to a run of another recipe or dataset")
            return state
        except RunError as error:
            set_aside(path, error, on_warning)
    return None


def after(folder: RunFolder, stage: int) -> State:
    """Return the state in which the stage after ``stage`` begins."""
    done, recipe = folder.load(stage), dump_recipe(folder.recipe())
    path = optimiser_path(folder.checkpoints, stage)
    kept = load_tensors(path)[0] if path.exists() else {}
    place, dataset = Place(stage + 1), folder.dataset()
    return State(place, done.weights, kept, None, done.next_labels, 0.0, done.metrics, {}, recipe, dataset)


def snapshot(
    learner: Learner, place: Place, labels: Tensor, metrics: list[dict[str, Any]], clock: Clock, folder: RunFolder
) -> State:
    """Copy a run between two steps to the CPU."""
    weights, momentum = on_cpu(learner.network.state_dict()), on_cpu(learner.momentum())
    rows, loss_sum = learner.table.rows.cpu(), float(learner.loss_sum)
    recipe, dataset = dump_recipe(folder.recipe()), folder.dataset()
    return State(place, weights, momentum, rows, labels, loss_sum, metrics, clock.seconds, recipe, dataset)
