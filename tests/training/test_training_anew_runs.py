"""Runs in rounds: they go on to the bit from anywhere, see no label, and end where there is nothing to learn."""

import json
import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_backbone import SMALL, call
from test_training_rounds import clusters, learn, partition, tensors, weights, without_times
from test_training_samples import shuffled
from test_training_state import StopAfter, assert_same, cut, empty, learn_and_copy
from test_training_teaching import Colours
from torch import Tensor

from reid_toolkit.config import NetworkRecipe, Recipe, RoundsRecipe, TrainingRecipe
from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.manifest import write_manifest
from reid_toolkit.errors import RunError
from reid_toolkit.training.clustering import Rounds
from reid_toolkit.training.distributed import join_world
from reid_toolkit.training.features import Features
from reid_toolkit.training.network import build_backbone
from reid_toolkit.training.rounds import train
from reid_toolkit.training.run_folder import RunFolder
from reid_toolkit.training.state import optimiser_path, optimisers, state_path, states
from reid_toolkit.training.tensor_files import load_tensors, save_tensors


@pytest.fixture(scope="module")
def anew() -> Recipe:
    """Three rounds of three steps on the 12 tracklets of ``tiny_dataset``; the last two look at cameras."""
    return Recipe(
        selection="last",
        network=NetworkRecipe(
            SMALL, weights="none", head="batch_norm", embedding=0, dropout=0.0, pooling="generalised_mean",
            last_stride=1, height=32, width=32,
        ),
        training=TrainingRecipe(
            frames=2, batch_size=6, optimiser="adam", backbone_factor=1.0, temperature=0.05, crop_scale=1.0, padding=4,
            erasing=0.5, norm_crops=6,
        ),
        rounds=RoundsRecipe(
            count=3, steps=3, per_cluster=2, cameras_from=1, neighbours=3, within=1, across=2, smallest=2, warm_up=2,
            until=0.7, until_before_cameras=0.7, learning_rate=1e-3,
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def between(shared_dataset: Path, anew: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is left of runs that save nothing within a round and end after 4 or 7 steps; not to be changed."""
    root = tmp_path_factory.mktemp("between")
    learn_and_copy(shared_dataset, anew, root, (4, 7), every=3600)
    return root


@pytest.fixture(scope="module")
def whole(between: Path) -> Path:
    """A run that was never stopped; not to be changed."""
    return between / "whole"


def stop(data: Path, recipe: Recipe, out: Path, steps: int, every: float) -> None:
    with pytest.raises(KeyboardInterrupt):
        learn(data, recipe, out, on_step=StopAfter(steps), checkpoint_seconds=every)


def go_on(data: Path, recipe: Recipe, out: Path) -> tuple[list[int], list[str]]:
    """The steps that were done, and the warnings."""
    done: list[int] = []
    said: list[str] = []
    learn(data, recipe, out, resume=True, on_step=lambda step: done.append(step.done), on_warning=said.append)
    return done, said


def test_a_run_writes_what_its_rounds_learned(anew: Recipe, whole: Path) -> None:
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["stage"] >= 0]
    assert [row["stage"] for row in rows] == [0, 1, 2]
    for row, following in pairwise(rows):
        assert row["next_clusters"] == following["learned_clusters"] >= 2
        assert 0 <= row["left_out"] <= 1
        assert 0 <= row["across_clusters"] <= 1
    assert json.loads((whole / "model.json").read_text())["stage"] == 2
    assert RunFolder(whole).recipe() == anew
    assert optimisers(whole / "checkpoints") == []
    assert states(whole / "checkpoints") == []
    first, last = (RunFolder(whole).load(stage).weights for stage in (0, 2))
    assert not first["feature_norm.bias"].any()
    assert not last["feature_norm.bias"].any()
    for key in ("backbone.conv1.weight", "backbone.avgpool.exponent", "feature_norm.weight"):
        assert not torch.equal(first[key], last[key])


def test_a_run_goes_on_from_any_step(tiny_dataset: Path, anew: Recipe, tmp_path: Path, whole: Path) -> None:
    """The first, within a round, a round's last, a round's first, and the last, after which is to extract."""
    places = (1, 3, 4, 8, 9)
    learn_and_copy(tiny_dataset, anew, tmp_path, places, every=0)
    for steps in places:
        out = tmp_path / str(steps)
        done, said = go_on(tiny_dataset, anew, out)
        assert done == list(range(steps + 1, 10))
        assert not said
        assert_same(out, whole)


def test_a_run_goes_on_between_rounds(
    tiny_dataset: Path, anew: Recipe, tmp_path: Path, whole: Path, between: Path
) -> None:
    """Nothing within a round was saved."""
    for steps, kept in ((4, [0]), (7, [0, 1])):
        out = shutil.copytree(between / str(steps), tmp_path / str(steps))
        assert optimisers(out / "checkpoints") == kept
        done, said = go_on(tiny_dataset, anew, out)
        assert done == list(range(steps, 10))
        assert not said
        assert_same(out, whole)


def test_what_sgd_had_is_not_kept_between_rounds(tiny_dataset: Path, anew: Recipe, tmp_path: Path) -> None:
    plain = replace(anew, training=replace(anew.training, optimiser="sgd"))
    learn(tiny_dataset, plain, tmp_path / "whole")
    for steps, every in ((4, 3600), (5, 0)):
        out = tmp_path / str(steps)
        stop(tiny_dataset, plain, out, steps, every)
        assert optimisers(out / "checkpoints") == []
        go_on(tiny_dataset, plain, out)
        assert_same(out, tmp_path / "whole")


def test_a_finished_run_resumes_to_itself(tiny_dataset: Path, anew: Recipe, tmp_path: Path, whole: Path) -> None:
    out = shutil.copytree(whole, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (out / "checkpoints").iterdir()}
    done, said = go_on(tiny_dataset, anew, out)
    assert (done, said) == ([], [])
    assert {path: path.stat().st_mtime_ns for path in (out / "checkpoints").iterdir()} == before


@pytest.mark.parametrize("damage", [cut, empty, Path.unlink])
@pytest.mark.parametrize("newest", [1, 2])
def test_without_what_adam_kept_a_run_goes_back(
    tiny_dataset: Path,
    anew: Recipe,
    tmp_path: Path,
    whole: Path,
    between: Path,
    damage: Callable[[Path], None],
    newest: int,
) -> None:
    """To the round before, or to the beginning; it never goes on without. The rounds' own files are left alone."""
    out, files = tmp_path / "run", tmp_path / "run" / "checkpoints"
    shutil.copytree(between / "7", out)
    for stage in (1, 0)[:newest]:
        damage(optimiser_path(files, stage))
    done, said = go_on(tiny_dataset, anew, out)
    assert done[0] == (4 if newest == 1 else 1)
    assert len(said) == (0 if damage is Path.unlink else newest)
    assert all("damaged checkpoint" in one and one.endswith(".damaged") and "optimiser-" in one for one in said)
    assert not list(files.glob("stage-*.damaged"))
    assert_same(out, whole)


def test_a_run_that_went_back_can_be_stopped_again(
    tiny_dataset: Path, anew: Recipe, tmp_path: Path, whole: Path, between: Path
) -> None:
    """What a later round left does not push out what an earlier one writes now."""
    out, files = tmp_path / "run", tmp_path / "run" / "checkpoints"
    shutil.copytree(between / "7", out)
    for stage in (0, 1):
        cut(RunFolder(out).stage_path(stage))
    with pytest.raises(KeyboardInterrupt):
        learn(tiny_dataset, anew, out, resume=True, on_step=StopAfter(4), checkpoint_seconds=3600)
    assert optimisers(files) == [0]
    done, said = go_on(tiny_dataset, anew, out)
    assert done[0] == 4
    assert not said
    assert_same(out, whole)


def test_a_damaged_last_round_of_a_finished_run_is_repeated(
    tiny_dataset: Path, anew: Recipe, tmp_path: Path, whole: Path
) -> None:
    """From the beginning, since what Adam kept is gone."""
    shutil.copytree(whole, tmp_path / "run")
    cut(RunFolder(tmp_path / "run").stage_path(2))
    done, said = go_on(tiny_dataset, anew, tmp_path / "run")
    assert done == list(range(1, 10))
    assert len(said) == 1
    assert "stage-002.safetensors: damaged checkpoint" in said[0]
    assert_same(tmp_path / "run", whole)


def test_a_run_of_a_version_without_rounds_goes_on(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    """Its config.toml and its states know none of the settings that came with rounds."""
    learn(tiny_dataset, recipe, tmp_path / "whole")
    out = tmp_path / "run"
    stop(tiny_dataset, recipe, out, 5, every=0)

    def as_it_was(text: str) -> str:
        new = ("head", "pooling", "last_stride", "padding", "erasing", "norm_crops", "optimiser", "[rounds]", "count")
        lines = [line for line in text.splitlines() if line.partition(" =")[0] not in new]
        assert len(lines) == len(text.splitlines()) - len(new)
        return "\n".join(lines) + "\n"

    (out / "config.toml").write_text(as_it_was((out / "config.toml").read_text()))
    for place in states(out / "checkpoints"):
        path = state_path(out / "checkpoints", place)
        content, header = load_tensors(path)
        save_tensors(path, content, header | {"recipe": json.dumps(as_it_was(json.loads(header["recipe"])))})
    done, said = go_on(tiny_dataset, recipe, out)
    assert (done, said) == ([6], [])
    assert_same(out, tmp_path / "whole")


def test_no_label_reaches_rounds(tiny_dataset: Path, anew: Recipe, tmp_path: Path, whole: Path) -> None:
    crops = open_dataset(tiny_dataset).crops
    names = sorted({crop.tracklet for crop in crops})
    identity = {name: str(place // 4 + 1) for place, name in enumerate(names)}
    write_manifest(tiny_dataset, [replace(crop, identity=identity[crop.tracklet]) for crop in crops])
    learn(tiny_dataset, anew, tmp_path / "named")
    assert weights(tmp_path / "named") == weights(whole)
    assert clusters(tmp_path / "named") == clusters(whole)


def test_the_order_of_storage_decides_nothing(tiny_dataset: Path, anew: Recipe, tmp_path: Path, whole: Path) -> None:
    learn(shuffled(tiny_dataset, tmp_path / "other"), anew, tmp_path / "b")
    for stage in range(3):
        assert tensors(tmp_path / "b", stage) == tensors(whole, stage)


def test_too_little_to_learn_ends_a_run_with_one_line(tiny_dataset: Path, anew: Recipe, tmp_path: Path) -> None:
    few = replace(anew, rounds=replace(anew.rounds, smallest=13))
    with pytest.raises(
        RunError, match="round 0: 0 clusters of 13 samples or more among 12 samples: expected at least 2"
    ):
        learn(tiny_dataset, few, tmp_path / "run")


def test_a_round_that_keeps_no_cluster_ends_the_run(
    tiny_dataset: Path, anew: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_it_is = Rounds.cluster

    def cluster(self: Rounds, number: int, features: Features) -> Tensor:
        return as_it_is(self, number, features) if number < 2 else torch.arange(len(features.descriptors))

    monkeypatch.setattr(Rounds, "cluster", cluster)
    rows = learn(tiny_dataset, anew, tmp_path)
    assert [row["next_clusters"] > 1 for row in rows] == [True, False]
    assert RunFolder(tmp_path).stages() == [0, 1]
    assert json.loads((tmp_path / "model.json").read_text())["stage"] == 1
    assert optimisers(tmp_path / "checkpoints") == []
    assert go_on(tiny_dataset, anew, tmp_path) == ([], [])


def test_rounds_with_density_and_without_weights(tiny_dataset: Path, anew: Recipe, tmp_path: Path) -> None:
    rounds = replace(anew.rounds, clustering="dbscan", radius=0.4, balance_cameras=False, spread_cameras=False, count=2)
    rows = learn(tiny_dataset, replace(anew, rounds=rounds), tmp_path)
    assert len(rows) == 2
    assert rows[0]["learned_clusters"] >= 2


@pytest.mark.parametrize("head", ["embedding", "batch_norm"])
def test_bfloat16_and_either_head_run(tiny_dataset: Path, anew: Recipe, tmp_path: Path, head: str) -> None:
    network = anew.network if head == "batch_norm" else replace(anew.network, head=head, embedding=16, dropout=0.1)
    short = replace(anew.rounds, count=1, steps=2)
    chosen = replace(anew, network=network, rounds=short, training=replace(anew.training, precision="bfloat16"))
    (row,) = learn(tiny_dataset, chosen, tmp_path)
    assert 0 < row["loss"] < 50
    assert {
        value.dtype for value in load_file(tmp_path / "best.safetensors").values() if value.is_floating_point()
    } == {torch.float32}


def train_in_a_world(rank: int, port: int, data: Path, recipe: Recipe, out: Path) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    with join_world("cpu") as (world, _):
        train(open_dataset(data), recipe, out, world=world, teacher=Colours())


def test_two_processes_learn_the_clusters_of_one(
    tiny_dataset: Path, anew: Recipe, tmp_path: Path, forked: ForkServerContext
) -> None:
    """With Adam, weights, erasing, and a teacher of the first round; steps are small, since rounding grows from random
    weights."""
    training = replace(anew.training, norm_crops=0, batch_size=12)
    taught = {"taught": 1, "teacher": Colours.fingerprint, "teacher_weight": 1.0}
    rounds = replace(anew.rounds, count=2, steps=2, learning_rate=1e-5, **taught)
    chosen = replace(anew, training=training, rounds=rounds)
    alone = learn(tiny_dataset, chosen, tmp_path / "alone", teacher=Colours())
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    words = (port, tiny_dataset, chosen, tmp_path / "both")
    children = [forked.Process(target=call, args=(train_in_a_world, rank, *words)) for rank in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0]
    lines = (tmp_path / "both" / "metrics.jsonl").read_text().splitlines()
    together = [row for row in map(json.loads, lines) if row["stage"] >= 0]
    for a, b in zip(without_times(alone), without_times(together), strict=True):
        assert a.keys() == b.keys()
        assert (a.pop("crops"), b.pop("crops")) == ("memory", "memory")
        assert a == pytest.approx(b, rel=1e-3)
    for stage in range(2):
        one, two = (RunFolder(tmp_path / name).load(stage) for name in ("alone", "both"))
        assert torch.equal(one.labels, two.labels)
        assert partition(tmp_path / "alone", stage) == partition(tmp_path / "both", stage)
        for name, value in one.weights.items():
            torch.testing.assert_close(two.weights[name], value, atol=1e-4, rtol=1e-3)


def test_a_round_leaves_no_weights_that_decayed_to_nothing(tiny_dataset: Path, anew: Recipe, tmp_path: Path) -> None:
    state = build_backbone(SMALL)[0].state_dict()
    state["conv1.weight"][0] = 1e-30
    state["bn1.weight"][0] = state["bn1.bias"][0] = 0  # so that nothing comes through, and no gradient goes back
    save_file(state, tmp_path / "worn.safetensors")
    worn = replace(anew, network=replace(anew.network, weights=str(tmp_path / "worn.safetensors")))
    learn(tiny_dataset, worn, tmp_path / "run")
    for stage in range(3):
        weights = RunFolder(tmp_path / "run").load(stage).weights
        assert not any(
            ((one.abs() > 0) & (one.abs() < 1e-15)).any() for name, one in weights.items() if "running" not in name
        )
