import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_backbone import SMALL
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_training_samples import shuffled

from reid_toolkit.config import MergingRecipe, NetworkRecipe, Recipe
from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.manifest import write_manifest
from reid_toolkit.errors import RunError
from reid_toolkit.training import samples as samples_module
from reid_toolkit.training.distributed import World
from reid_toolkit.training.progress import Step
from reid_toolkit.training.rounds import train
from reid_toolkit.training.run import TrainingRun
from reid_toolkit.training.run_folder import RunFolder
from reid_toolkit.training.samples import load_samples


def learn(data: Path, recipe: Recipe, out: Path, **options: object) -> list[dict]:
    return train(open_dataset(data), recipe, out, **options)


def weights(out: Path) -> dict[str, bytes]:
    """The selected stage's, without the header, which holds times."""
    return {key: value.numpy().tobytes() for key, value in load_file(out / "best.safetensors").items()}


def tensors(out: Path, stage: int) -> dict[str, bytes]:
    """A stage's weights and labels, without the header, which holds times."""
    return {key: value.numpy().tobytes() for key, value in load_file(RunFolder(out).stage_path(stage)).items()}


def without_times(metrics: list[dict]) -> list[dict]:
    return [
        {key: value for key, value in row.items() if not key.startswith(("seconds", "images_per_second"))}
        for row in metrics
    ]


def partition(out: Path, stage: int) -> set[frozenset[int]]:
    labels = RunFolder(out).load(stage).next_labels
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in labels.unique()}


def clusters(out: Path) -> set[frozenset[str]]:
    found: dict[str, set[str]] = {}
    for row in csv.DictReader((out / "clusters.csv").read_text().splitlines()):
        found.setdefault(row["cluster"], set()).add(row["tracklet"])
    return {frozenset(members) for members in found.values()}


def test_a_run_writes_all_that_it_says(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    out, steps, phases = tmp_path / "run", [], []
    metrics = learn(tiny_dataset, recipe, out, on_step=steps.append, on_phase=phases.append)
    assert [(row["stage"], row["clusters"], row["merges"]) for row in metrics] == [(0, 12, 3), (1, 9, 3), (2, 6, 0)]
    start, *lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines == metrics
    assert (start["stage"], start["clusters"], start["loss"]) == (-1, 12, None)
    assert 0 <= start["self_retrieval"] <= 1
    assert steps[-1] == Step(2, 3, 6, steps[-1].loss, 6, 6, steps[-1].seconds_left)
    assert steps[0].seconds_left is None
    assert all(step.seconds_left > 0 for step in steps[1:])
    assert phases[:4] == ["load", "extract", "measure", "merge"]
    assert phases[-4:] == ["extract", "measure", "merge", "save"]
    assert [step.done for step in steps] == list(range(1, 7))

    folder = RunFolder(out)
    assert folder.recipe() == recipe
    assert folder.stages() == [0, 1, 2]
    assert folder.dataset() == open_dataset(tiny_dataset).fingerprint
    model = folder.model()
    kept = max([start, *metrics], key=lambda row: (row["self_retrieval"], row["stage"]))
    best = kept["stage"]
    assert (model["stage"], model["self_retrieval"]) == (best, kept["self_retrieval"])
    assert model["selection"] == "self_retrieval"
    chosen = folder.load(best)
    found = load_file(out / "best.safetensors")
    assert all(torch.equal(found[key], value) for key, value in chosen.weights.items())
    assert all(row["images_per_second"] > 0 for row in metrics)
    assert metrics[0]["seconds_load"] > 0
    for row in metrics:
        assert row["seconds"] == pytest.approx(sum(row[key] for key in row if key.startswith("seconds_")), abs=0.01)
    assert len(clusters(out)) == kept["clusters"]
    assert {name for members in clusters(out) for name in members} == {
        t.name for t in open_dataset(tiny_dataset).tracklets
    }

    board = EventAccumulator(str(folder.events)).Reload()
    assert [event.value for event in board.Scalars("clusters")] == [12, 9, 6]
    assert [event.value for event in board.Scalars("loss")] == pytest.approx([row["loss"] for row in metrics])


def test_a_merge_stage_takes_up_the_clusters_it_made(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    learn(tiny_dataset, recipe, tmp_path)
    folder = RunFolder(tmp_path)
    for stage in (0, 1):
        done, following = folder.load(stage), folder.load(stage + 1)
        assert torch.equal(done.next_labels, following.labels)
        assert int(done.next_labels.max()) + 1 == int(done.labels.max()) + 1 - 3
        assert len({(int(a), int(b)) for a, b in zip(done.labels, done.next_labels, strict=True)}) == int(
            done.labels.max() + 1
        )


def test_no_label_reaches_training(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    learn(tiny_dataset, recipe, tmp_path / "without")
    crops = open_dataset(tiny_dataset).crops
    names = sorted({crop.tracklet for crop in crops})
    for run, order in (("a", names), ("b", names[::-1])):
        identity = {name: str(order.index(name) // 4 + 1) for name in names}
        write_manifest(tiny_dataset, [replace(crop, identity=identity[crop.tracklet]) for crop in crops])
        learn(tiny_dataset, recipe, tmp_path / run)
        assert weights(tmp_path / run) == weights(tmp_path / "without")
        assert clusters(tmp_path / run) == clusters(tmp_path / "without")


def test_the_order_of_storage_decides_nothing(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    other = shuffled(tiny_dataset, tmp_path / "other")
    metrics = learn(tiny_dataset, recipe, tmp_path / "a")
    assert without_times(learn(other, recipe, tmp_path / "b")) == without_times(metrics)
    for stage in range(3):
        assert tensors(tmp_path / "a", stage) == tensors(tmp_path / "b", stage)
    pixels = {}
    for root in (tiny_dataset, other):
        for tracklet in open_dataset(root).tracklets:
            pixels.setdefault(tracklet.crops[0].path.read_bytes(), []).append(tracklet.name)
    renamed = {new: old for old, new in pixels.values()}
    assert set(renamed) != set(renamed.values())
    assert {frozenset(renamed[name] for name in members) for members in clusters(tmp_path / "b")} == clusters(
        tmp_path / "a"
    )


def last_partition(data: Path, recipe: Recipe, out: Path, **merging: object) -> set[frozenset[int]]:
    changed = replace(recipe, merging=replace(recipe.merging, **merging))
    return partition(out, learn(data, changed, out)[-1]["stage"])


def test_lambda_changes_the_partition(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    without = last_partition(tiny_dataset, recipe, tmp_path / "0", trade_off=0.0)
    assert without != last_partition(tiny_dataset, recipe, tmp_path / "5", trade_off=5.0)
    assert max(map(len, without)) > 2


def test_buc_keeps_clusters_of_a_size(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    found = last_partition(
        tiny_dataset, recipe, tmp_path, linkage="minimum", trade_off=0.0, size_weight=1.0, metric="squared_euclidean"
    )
    assert {len(members) for members in found} == {2}


def test_images_can_be_the_samples(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    images = replace(
        recipe,
        training=replace(recipe.training, samples="images", frames=1, batch_size=16),
        merging=replace(recipe.merging, fraction=0.45),
    )
    metrics = learn(tiny_dataset, images, tmp_path)
    assert [row["clusters"] for row in metrics] == [48, 27]
    assert metrics[0]["self_retrieval"] is None
    assert RunFolder(tmp_path).model()["stage"] == 1


def see_at_once(data: Path, names: set[str]) -> None:
    """One camera; the tracklets named are seen at one moment, nobody knows when the others were."""
    crops = open_dataset(data).crops
    write_manifest(
        data, [replace(c, camera="door", time=1.0 if c.tracklet in names else None, recording="r") for c in crops]
    )


def test_people_seen_at_once_never_share_a_cluster(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    last = replace(recipe, selection="last", merging=MergingRecipe(fraction=0.45))
    see_at_once(tiny_dataset, set())
    learn(tiny_dataset, last, tmp_path / "free")
    pair = set(sorted(max(clusters(tmp_path / "free"), key=len))[:2])
    assert len(pair) == 2  # two that would merge
    see_at_once(tiny_dataset, pair)
    learn(tiny_dataset, last, tmp_path / "kept")
    assert max(map(len, clusters(tmp_path / "kept"))) > 1
    assert not any(pair <= members for members in clusters(tmp_path / "kept"))
    ignored = replace(last, merging=MergingRecipe(fraction=0.45, cannot_link=False))
    learn(tiny_dataset, ignored, tmp_path / "ignored")
    assert any(pair <= members for members in clusters(tmp_path / "ignored"))


def test_a_run_reports_what_the_constraints_stopped(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    figures = ("merges_forbidden", "violations_without")
    see_at_once(tiny_dataset, set())
    free = learn(tiny_dataset, recipe, tmp_path / "free")
    assert all(row[name] is None for row in free for name in figures)  # no pair, no figure
    names = [t.name for t in load_samples(open_dataset(tiny_dataset), 32, 32).tracklets]
    labels = RunFolder(tmp_path / "free").load(0).next_labels
    pair = {names[i] for i in np.flatnonzero(labels == labels.mode().values)[:2]}
    see_at_once(tiny_dataset, pair)
    kept = learn(tiny_dataset, recipe, tmp_path / "kept")
    assert [kept[0][name] for name in figures] == [1, 1.0]
    assert kept[-1]["merges_forbidden"] is None  # nothing is merged after the last stage
    board = EventAccumulator(str(tmp_path / "kept" / "events")).Reload()
    assert board.Scalars("merges_forbidden")[0].value == 1
    assert board.Scalars("violations_without")[0].value == 1


def test_it_ends_when_every_merge_is_forbidden(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    names = [t.name for t in open_dataset(tiny_dataset).tracklets]
    crops = [replace(c, camera="door", time=1.0, recording="r") for c in open_dataset(tiny_dataset).crops]
    write_manifest(tiny_dataset, crops)
    assert [(row["clusters"], row["merges"]) for row in learn(tiny_dataset, recipe, tmp_path / "a")] == [(12, 0)]
    # All but one at once: that one can be merged into any other, and then nothing is left.
    write_manifest(tiny_dataset, [replace(c, time=None if c.tracklet == names[0] else 1.0) for c in crops])
    metrics = learn(tiny_dataset, recipe, tmp_path / "b")
    assert [(row["clusters"], row["merges"]) for row in metrics] == [(12, 1), (11, 0)]


class StopAt:
    """Ctrl-C in a training step."""

    def __init__(self, stage: int) -> None:
        self.stage = stage

    def __call__(self, step: Step) -> None:
        if step.stage == self.stage:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stage", [0, 2])
def test_a_stopped_run_goes_on_as_if_unbroken(tiny_dataset: Path, recipe: Recipe, tmp_path: Path, stage: int) -> None:
    metrics = learn(tiny_dataset, recipe, tmp_path / "whole")
    out = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        learn(tiny_dataset, recipe, out, on_step=StopAt(stage))
    assert RunFolder(out).stages() == list(range(stage))
    with pytest.raises(RunError, match="holds a run already: give --resume"):
        learn(tiny_dataset, recipe, out)
    assert without_times(learn(tiny_dataset, recipe, out, resume=True)) == without_times(metrics)
    assert tensors(out, 2) == tensors(tmp_path / "whole", 2)
    assert weights(out) == weights(tmp_path / "whole")
    assert clusters(out) == clusters(tmp_path / "whole")
    # Once more: nothing is left to do, and nothing changes.
    assert without_times(learn(tiny_dataset, recipe, out, resume=True)) == without_times(metrics)
    assert weights(out) == weights(tmp_path / "whole")


def test_resume_needs_no_weights_file(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from reid_toolkit.training.network import build_backbone

    path = tmp_path / "weights.safetensors"
    save_file(build_backbone(SMALL)[0].state_dict(), path)
    chosen = replace(recipe, network=replace(recipe.network, weights=str(path)))
    with pytest.raises(KeyboardInterrupt):
        learn(tiny_dataset, chosen, tmp_path / "run", on_step=StopAt(1))
    path.unlink()
    assert len(learn(tiny_dataset, chosen, tmp_path / "run", resume=True)) == 3


def test_a_resume_of_something_else_is_refused(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        learn(tiny_dataset, recipe, out, on_step=StopAt(1))
    changed = replace(recipe, seed=7, training=replace(recipe.training, frames=3))
    with pytest.raises(RunError, match=r"seed: 0 is now 7; training\.frames: 2 is now 3"):
        learn(tiny_dataset, changed, out, resume=True)
    crops = open_dataset(tiny_dataset).crops
    write_manifest(tiny_dataset, crops[:-1])
    with pytest.raises(RunError, match="another dataset"):
        learn(tiny_dataset, recipe, out, resume=True)
    # Same files and sizes, but one tracklet can no longer be read.
    write_manifest(tiny_dataset, crops)
    for crop in crops[:4]:
        crop.path.write_bytes(b"\0" * crop.path.stat().st_size)
    with pytest.raises(RunError, match="trained on 12 samples, of which 11 can be read"):
        learn(tiny_dataset, recipe, out, resume=True, bad=[])


def spoil_first_crops(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tracklet keeps three of its crops, so all can be read."""
    for tracklet in open_dataset(data).tracklets:
        path = tracklet.crops[0].path
        path.write_bytes(b"\0" * path.stat().st_size)


def decode_otherwise(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another version of OpenCV may."""
    resize = samples_module.resize
    monkeypatch.setattr(samples_module, "resize", lambda *given: 255 - resize(*given))


@pytest.mark.parametrize("change", [spoil_first_crops, decode_otherwise])
def test_a_resume_with_samples_in_another_order_is_refused(
    tiny_dataset: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    """Its labels are those of the old order, and would go to other tracklets."""
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        learn(tiny_dataset, recipe, out, on_step=StopAt(1))
    change(tiny_dataset, monkeypatch)
    with pytest.raises(RunError, match="cannot resume: the samples are in another order") as refused:
        learn(tiny_dataset, recipe, out, resume=True, bad=[])
    assert "\n" not in str(refused.value)


def test_a_run_that_did_not_store_the_order_goes_on(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        learn(tiny_dataset, recipe, out, on_step=StopAt(1))
    about = json.loads((out / "run.json").read_text())
    assert about.pop("samples")
    (out / "run.json").write_text(json.dumps(about))
    assert len(learn(tiny_dataset, recipe, out, resume=True)) == 3


def test_processes_with_samples_in_other_orders_are_refused(
    tiny_dataset: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their files have the same names and sizes."""
    of_first: list[Any] = []

    def share(world: World, make: Callable[[], Any]) -> Any:
        if not of_first:
            of_first.append(make())
        return of_first[0]

    monkeypatch.setattr(World, "share", share)
    data = open_dataset(tiny_dataset)
    run = TrainingRun(tmp_path / "run", recipe, data.fingerprint, torch.device("cpu"), World(1, 2))
    samples = load_samples(data, 32, 32)
    for _ in ("the first process", "another with the same"):
        run.check(samples, data.root)
    decode_otherwise(tiny_dataset, monkeypatch)
    with pytest.raises(RunError, match="differs between processes: copy one to all"):
        run.check(load_samples(data, 32, 32), data.root)


def test_a_loss_that_is_not_finite_ends_the_run(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    wild = replace(recipe, training=replace(recipe.training, first_learning_rate=1e30, first_epochs=3))
    with pytest.raises(RunError, match=r"stage 0, epoch \d: the loss is not finite: lower"):
        learn(tiny_dataset, wild, tmp_path)
    assert RunFolder(tmp_path).stages() == []


def test_a_network_that_diverges_in_its_last_step_ends_the_run(
    tiny_dataset: Path, recipe: Recipe, tmp_path: Path
) -> None:
    wild = replace(recipe, training=replace(recipe.training, temperature=1e-35, batch_size=12))
    with pytest.raises(RunError, match=r"stage 0.*(diverged|not finite): lower"):
        learn(tiny_dataset, wild, tmp_path)
    assert RunFolder(tmp_path).stages() == []


def test_a_failure_before_training_leaves_no_run(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    next((tiny_dataset / "crops").iterdir()).write_bytes(b"")
    out = tmp_path / "run"
    with pytest.raises(ValueError, match="skip-bad"):
        learn(tiny_dataset, recipe, out)
    assert not out.exists()
    assert len(learn(tiny_dataset, recipe, out, bad=[])) == 3


def test_the_tables_momentum_is_the_recipes(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    for name, momentum in (("a", 0.5), ("b", 0.9)):
        learn(
            tiny_dataset, replace(recipe, training=replace(recipe.training, table_momentum=momentum)), tmp_path / name
        )
    assert tensors(tmp_path / "a", 0) != tensors(tmp_path / "b", 0)


@pytest.mark.parametrize(("backbone", "frozen"), [("resnet18", "layer1"), ("mobilenet_v3_small", "none")])
def test_torchvisions_backbones_train(
    tiny_dataset: Path, recipe: Recipe, tmp_path: Path, backbone: str, frozen: Any
) -> None:
    network = NetworkRecipe(backbone, weights="none", embedding=16, height=32, width=32, frozen=frozen)
    assert len(learn(tiny_dataset, replace(recipe, network=network), tmp_path)) == 3
