"""The run folder: writes the files of each stage, and reads a run's network back.

    config.toml  run.json  metrics.jsonl  events/  checkpoints/{initial,stage-000,...}.safetensors
    best.safetensors  model.json  clusters.csv  corrections.json

A stage's checkpoint is written first and contains everything. The files at the top are made from the checkpoints, so a
run that stops between two writes loses nothing. ``state.py`` handles what is written within a stage.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from reid_toolkit.config import Recipe
from reid_toolkit.datasets.known_pairs import NO_PAIRS, KnownPairs
from reid_toolkit.errors import RunError
from reid_toolkit.files import csv_text, link_atomic, parse_json, write_atomic
from reid_toolkit.recipe_files import difference, dump_recipe, load_recipe
from reid_toolkit.training.network import ReidNetwork
from reid_toolkit.training.selection import START, describe
from reid_toolkit.training.tensor_files import load_tensor, load_tensors, save_tensors
from reid_toolkit.version import __version__

LABELS, NEXT_LABELS = "training.labels", "training.next_labels"
"""Names of the labels' tensors. The network's tensors have other prefixes."""


@dataclass(frozen=True)
class Checkpoint:
    """The state at the end of one stage."""

    stage: int
    weights: dict[str, Tensor]
    labels: Tensor
    """(N,) int64: the clusters that this stage learned."""
    next_labels: Tensor
    """(N,) int64: the clusters after the stage, which the next stage learns."""
    metrics: list[dict[str, Any]]
    """One row per stage, up to this one."""


class RunFolder:
    """The paths and files of one training run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.events = path / "events"
        self.crops = path / "crops.u8"
        """Decoded crops that do not fit into memory. Kept while the run goes on."""
        self.lessons = path / "teacher.safetensors"
        """The teacher's descriptors of the samples."""
        self.corrections = path / "corrections.json"
        """What users said about pairs of tracklets, if the run uses that."""

    def start(self, recipe: Recipe, fingerprint: str, known: KnownPairs = NO_PAIRS, order: str | None = None) -> None:
        """Make the folder of a new run, which uses the ``known`` pairs. ``order`` is that of its samples, if the run
        stores labels (``Samples.order``)."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path / "config.toml", dump_recipe(recipe))
        about = {"dataset": fingerprint, "toolkit": __version__}
        if len(known):
            write_atomic(self.corrections, known.to_json())
            about["corrections"] = known.digest
        if order is not None:
            about["samples"] = order
        # Written last, because it makes the folder a run.
        write_atomic(self.path / "run.json", json.dumps(about))

    def begun(self, *, resume: bool) -> bool:
        """Whether the folder holds a run. Raises :class:`RunError` if it does and ``resume`` is off."""
        has_run = (self.path / "run.json").exists()
        if has_run and not resume:
            raise RunError(f"{self.path}: holds a run already: give --resume to go on with it, or another --out")
        return has_run

    def check(self, recipe: Recipe, fingerprint: str, known: KnownPairs | None = None, *, resume: bool) -> None:
        """Check that a run may be written here. Raises :class:`RunError` if the folder holds a run and ``resume`` is
        off, or a run of another recipe, dataset, or other ``known`` pairs (None for those that it began with). A folder
        without a run passes."""
        if not self.begun(resume=resume):
            return
        changed = difference(self.recipe(), recipe)
        if changed:
            raise RunError(f"{self.path}: cannot resume with another recipe: {'; '.join(changed)}")
        if self.dataset() != fingerprint:
            raise RunError(
                f"{self.path}: cannot resume on another dataset: expected fingerprint {self.dataset()}, "
                f"got {fingerprint}; train into another --out"
            )
        if known is not None and known != (began := self.known_pairs()):
            raise RunError(
                f"{self.path}: cannot resume with other corrections: it began with {len(began)} about its tracklets, "
                f"got {len(known)}, and they are not the same: leave --corrections out to go on with the old ones, or "
                "train into another --out"
            )

    def known_pairs(self) -> KnownPairs:
        """Return what the run was told about pairs of its tracklets.

        Raises :class:`RunError` if the file is missing or damaged, or if there is no run.
        """
        expected = self.about().get("corrections")
        if expected is None:
            return NO_PAIRS
        try:
            known = KnownPairs.from_json(self.corrections.read_text())
        except (OSError, ValueError):
            known = NO_PAIRS
        if known.digest != expected:
            raise RunError(
                f"{self.corrections}: missing or damaged: the run began with corrections: restore the file, or train "
                "into another --out"
            )
        return known

    def recipe(self) -> Recipe:
        """Return the recipe by which the run is trained."""
        path = self.path / "config.toml"
        if not path.is_file():
            raise RunError(f"{self.path}: damaged training run: config.toml is missing")
        return load_recipe(str(path))

    def dataset(self) -> str:
        """Return the fingerprint of the dataset that the run learns from."""
        return str(self.about()["dataset"])

    def order(self) -> str | None:
        """Return the order of the samples with which the run began. None for runs of earlier versions."""
        return self.about().get("samples")

    def about(self) -> dict[str, Any]:
        """Return what run.json holds. Raises :class:`RunError` if it is missing or damaged."""
        try:
            held = parse_json((self.path / "run.json").read_text())
            return {"dataset": held["dataset"], **held}
        except (OSError, ValueError, KeyError, TypeError):
            raise RunError(
                f"{self.path}: not a training run: run.json is missing or damaged: expected a folder of `reid train`"
            ) from None

    def model(self) -> dict[str, Any]:
        """Return what model.json says about the selected stage. Raises :class:`RunError` if it is damaged."""
        try:
            return {**parse_json((self.path / "model.json").read_text())}
        except (OSError, ValueError, TypeError):
            raise self.damaged_model() from None

    def damaged_model(self) -> RunError:
        """Return the error for a model.json that does not say what it should."""
        return RunError(
            f"{self.path / 'model.json'}: damaged: `reid train --resume` with the run's --out writes it again"
        )

    def stage_path(self, stage: int) -> Path:
        """Return the path of a stage's checkpoint, whether it exists or not. START is the network before training."""
        if stage == START:
            return self.checkpoints / "initial.safetensors"
        return self.checkpoints / f"stage-{stage:03d}.safetensors"

    def stages(self) -> list[int]:
        """Return the numbers of the finished stages, sorted."""
        matches = (re.fullmatch(r"stage-(\d+)\.safetensors", p.name) for p in self.checkpoints.glob("*"))
        return sorted(int(match[1]) for match in matches if match)

    def start_row(self) -> list[dict[str, Any]]:
        """Return the metrics.jsonl line of the network before training; an empty list for runs of earlier versions."""
        try:
            return self.load(START).metrics
        except RunError:
            return []

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a stage's checkpoint, completely or not at all."""
        stage = "initial" if checkpoint.stage == START else str(checkpoint.stage)
        header = {"stage": stage, "metrics": json.dumps(checkpoint.metrics)}
        tensors = {**checkpoint.weights, LABELS: checkpoint.labels, NEXT_LABELS: checkpoint.next_labels}
        save_tensors(self.stage_path(checkpoint.stage), tensors, header)

    def load(self, stage: int) -> Checkpoint:
        """Read a stage's checkpoint. Raises :class:`RunError` if it is missing or damaged."""
        weights, header = load_tensors(self.stage_path(stage))
        try:
            labels, next_labels = weights.pop(LABELS), weights.pop(NEXT_LABELS)
            return Checkpoint(stage, weights, labels, next_labels, parse_json(header["metrics"]))
        except (KeyError, ValueError):
            raise RunError(f"{self.stage_path(stage)}: not a stage's checkpoint: parts are missing") from None

    def publish(
        self,
        metrics: list[dict[str, Any]],
        names: list[tuple[str, str]],
        rule: str,
        verdict: dict[str, Any] | None = None,
    ) -> None:
        """Write metrics.jsonl, and the stage that ``rule`` selects as best.safetensors, model.json and clusters.csv.

        ``metrics`` begin with the network before training, if its line is known. ``names`` are (tracklet, camera) of
        each sample, in the labels' order. ``verdict`` is stored in model.json; if its ``start_kept`` is true, the
        network before training is kept.
        """
        model = describe(metrics, rule)
        if verdict and verdict["start_kept"] and metrics[0]["stage"] == START:
            model = describe(metrics[:1], "last") | {"selection": "verdict"}
        if verdict:
            model["verdict"] = verdict
        best = model["stage"]
        write_atomic(self.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in metrics))
        link_atomic(self.stage_path(best), self.path / "best.safetensors")
        model |= {"dataset": self.dataset(), "toolkit": __version__}
        if len(known := self.known_pairs()):
            model["corrections"] = known.counts()
        write_atomic(self.path / "model.json", json.dumps(model, indent=2) + "\n")
        labels = load_tensor(self.stage_path(best), LABELS)
        rows = sorted((*name, int(label)) for name, label in zip(names, labels, strict=True))
        write_atomic(self.path / "clusters.csv", csv_text([("tracklet", "camera", "cluster"), *rows]))


def network_weights(path: Path) -> dict[str, Tensor]:
    """Return the network's tensors of a checkpoint. Raises :class:`RunError` if it is damaged."""
    tensors, _ = load_tensors(path)
    return {key: value for key, value in tensors.items() if key not in (LABELS, NEXT_LABELS)}


def load_network(folder: RunFolder, stage: str) -> ReidNetwork:
    """Read a run's network at ``stage``: "best", "initial", "last" or a number.

    Raises :class:`RunError` if the run has no such stage, its file is damaged, or a weight is not finite.
    """
    recipe = folder.recipe()
    if stage == "best":
        path = folder.path / "best.safetensors"
    elif stage == "initial":
        path = folder.stage_path(START)
    else:
        stages = folder.stages()
        number = stages[-1] if stage == "last" and stages else int(stage) if re.fullmatch(r"\d{1,9}", stage) else -1
        if number not in stages:
            choices = f"0-{stages[-1]}" if stages else "none yet"
            raise RunError(f"{folder.path}: no stage {stage!r}: expected best, initial, last or one of {choices}")
        path = folder.stage_path(number)
    state = network_weights(path)
    broken = [key for key, value in state.items() if not bool(value.isfinite().all())]
    if broken:
        raise RunError(
            f"{path}: {len(broken)} tensors hold NaN or infinity, the first is {broken[0]!r}: the training "
            "diverged; export an earlier stage, or train again with lower learning rates"
        )
    network = ReidNetwork(recipe.network)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise RunError(f"{path}: does not fit the run's config.toml: {str(error).splitlines()[-1]}") from None
    return network
