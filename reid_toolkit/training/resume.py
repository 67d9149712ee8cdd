"""Where a run goes on: at the last of its files that is whole."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from reid_toolkit.config import dump_recipe
from reid_toolkit.errors import RunError
from reid_toolkit.training.checkpoint import RunFolder
from reid_toolkit.training.clock import Clock
from reid_toolkit.training.learner import Learner
from reid_toolkit.training.state import Place, State, load_state, state_path, states


def latest(folder: RunFolder, on_warning: Callable[[str], None]) -> State | None:
    """Of the last file that can be read: a stage's end or a place within one; None where a run has to begin anew.

    A file that is damaged, or was copied from a run of another recipe or dataset, is set aside with a warning, and
    the one before it is used: nothing but time is lost.
    """
    files = folder.checkpoints
    if not files.is_dir():
        return None  # not ours, or not yet
    for path in (*folder.path.glob(".*.partial*"), *files.glob(".*.partial*")):
        path.unlink()  # of a process that was killed while it wrote
    if not (folder.path / "run.json").exists():
        return None
    settings, fingerprint = dump_recipe(folder.recipe()), folder.dataset()
    found: list[tuple[Place, Path, Callable[[], State]]] = [
        *((Place(stage + 1), folder.stage_path(stage), partial(after, folder, stage)) for stage in folder.stages()),
        *((place, state_path(files, place), partial(load_state, files, place)) for place in states(files)),
    ]
    for _, path, load in sorted(found, key=lambda each: each[0], reverse=True):
        try:
            state = load()
            if (state.recipe, state.dataset) != (settings, fingerprint):
                raise RunError(f"{path}: belongs to a run of another recipe or dataset")
            return state
        except RunError as error:
            aside = path.with_name(path.name + ".damaged")
            on_warning(f"{error}; it was renamed to {aside.name}")
            path.replace(aside)
    return None


def after(folder: RunFolder, stage: int) -> State:
    """The beginning of the stage after this one."""
    done, recipe = folder.load(stage), dump_recipe(folder.recipe())
    return State(
        Place(stage + 1), done.weights, {}, None, done.next_labels, 0.0, done.metrics, {}, recipe, folder.dataset()
    )


def snapshot(
    learner: Learner, place: Place, labels: Tensor, metrics: list[dict[str, Any]], clock: Clock, folder: RunFolder
) -> State:
    """A run as it is between two steps, copied to the CPU."""
    weights, momentum = (
        {name: value.cpu() for name, value in tensors.items()}
        for tensors in (learner.network.state_dict(), learner.momentum())
    )
    rows, loss_sum = learner.table.rows.cpu(), float(learner.loss_sum)
    recipe, dataset = dump_recipe(folder.recipe()), folder.dataset()
    return State(place, weights, momentum, rows, labels, loss_sum, metrics, clock.seconds, recipe, dataset)
