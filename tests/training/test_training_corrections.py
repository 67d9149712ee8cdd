"""What users said about pairs of tracklets, in training: every clustering obeys it, and a resume keeps it."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training_anew import RECIPE, changed, seen
from test_training_rounds import learn, tensors, weights, without_times

from reid_toolkit.config import Recipe, RoundsRecipe
from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.known_pairs import NO_PAIRS, KnownPairs
from reid_toolkit.errors import InputError, RunError
from reid_toolkit.records import Crop, Tracklet
from reid_toolkit.training.clustering import Rounds, Stages
from reid_toolkit.training.merging import Constraints
from reid_toolkit.training.progress import Step
from reid_toolkit.training.run_folder import RunFolder
from reid_toolkit.training.samples import Samples, load_samples

CPU = torch.device("cpu")
KNOWN = KnownPairs(same=(("north-00", "south-10"), ("north-00", "south-20")), different=(("north-00", "north-01"),))
"""Against what the pictures show, so that only the constraints can bring it about."""
NAMES = sorted({name for pair in (*KNOWN.same, *KNOWN.different) for name in pair})


def samples(names: list[str], cameras: list[str], times: list[float] | None = None) -> Samples:
    starts = times or [10.0 * place for place in range(len(names))]
    tracklets = tuple(
        Tracklet(name, camera, (Crop(Path("/x.jpg"), camera, name, 0, start, recording="r"),))
        for name, camera, start in zip(names, cameras, starts, strict=True)
    )
    crops = tuple(tracklet.crops[0] for tracklet in tracklets)
    return Samples(tracklets, crops, np.arange(len(crops) + 1), 32, 32, None)


def obeyed(labels: torch.Tensor, names: list[str], known: KnownPairs) -> bool:
    label = dict(zip(names, labels.tolist(), strict=True))
    return all(label[a] == label[b] for a, b in known.same) and all(label[a] != label[b] for a, b in known.different)


@pytest.mark.parametrize("clustering", ["dispersion", "dbscan"])
@pytest.mark.parametrize("camera_aware", [False, True])
def test_rounds_obey_and_change_nothing_else(clustering: str, camera_aware: bool) -> None:
    features, cameras, who = seen(bias=0.3)
    names = [f"t{place:03d}" for place in range(len(cameras))]
    some = samples(names, cameras)
    recipe = changed(clustering=clustering, radius=0.6, cameras_from=0 if camera_aware else 3, until_before_cameras=0.8)
    free = Rounds.of(recipe, some, CPU).cluster(0, features)
    one, two = (np.flatnonzero(who.numpy() == person) for person in (0, 1))
    known = KnownPairs(same=((names[one[0]], names[two[0]]),), different=((names[one[1]], names[one[2]]),))
    assert not obeyed(free, names, known)
    found = Rounds.of(recipe, some, CPU, known=known).cluster(0, features)
    assert obeyed(found, names, known)
    assert sorted(found.unique().tolist()) == list(range(int(found.max()) + 1))
    others = np.flatnonzero(~np.isin(who.numpy(), (0, 1)))
    assert all((free[a] == free[b]) == (found[a] == found[b]) for a, b in combinations(others.tolist(), 2))


def test_no_corrections_are_the_clusters_of_before() -> None:
    features, cameras, _ = seen(bias=0.3)
    some = samples([f"t{place:03d}" for place in range(len(cameras))], cameras)
    free = Rounds.of(RECIPE, some, CPU)
    assert free.ties is None
    assert torch.equal(free.cluster(1, features), Rounds.of(RECIPE, some, CPU, known=NO_PAIRS).cluster(1, features))


def test_a_users_word_counts_more_than_times() -> None:
    some = samples(["a", "b", "c"], ["door"] * 3, [5.0, 5.0, 5.0])
    found = Constraints.of(some, KnownPairs(same=(("a", "b"),)), seen_at_once=True)
    assert found.ties.tolist() == [0, 0, 1]
    assert found.apart.tolist() == [[0, 2], [1, 2]]
    assert Constraints.of(some, NO_PAIRS, seen_at_once=False).apart is None
    told = Constraints.of(some, KnownPairs(different=(("a", "c"),)), seen_at_once=False)
    assert told.apart.tolist() == [[0, 2]]


def test_stages_begin_with_what_is_tied(recipe: Recipe) -> None:
    features, cameras, _ = seen()
    names = [f"t{place:03d}" for place in range(len(cameras))]
    known = KnownPairs(same=((names[0], names[7]), (names[7], names[90])), different=((names[0], names[1]),))
    stages = Stages.of(recipe, samples(names, cameras), CPU, known)
    labels, count = stages.initial(features), len(names) - 2
    assert int(labels.max()) + 1 == count
    for stage in range(stages.schedule.stages):
        assert obeyed(labels, names, known)
        labels, row = stages.after(stage, features, labels)
        count -= row["merges"]
        assert int(labels.max()) + 1 == count > 0
    assert row["merges"] == 0
    assert count <= 2 * stages.schedule.merges, "as many stages as Algorithm 1 has for so many clusters"


def test_nothing_left_to_tell_apart_is_refused(recipe: Recipe) -> None:
    known = KnownPairs(same=(("a", "b"),))
    with pytest.raises(InputError, match="all tracklets show one person"):
        Stages.of(recipe, samples(["a", "b"], ["door"] * 2), CPU, known)


def of_rounds(recipe: Recipe, clustering: str) -> Recipe:
    made = RoundsRecipe(count=3, steps=2, per_cluster=2, neighbours=2, within=2, across=2, smallest=1, radius=0.4)
    return replace(recipe, rounds=replace(made, clustering=clustering))


@pytest.mark.parametrize("way", ["stages", "images", "dispersion", "dbscan"])
def test_every_stage_of_a_run_obeys(tiny_dataset: Path, recipe: Recipe, tmp_path: Path, way: str) -> None:
    chosen = replace(recipe, selection="last")
    if way == "images":
        chosen = replace(chosen, training=replace(chosen.training, samples="images", frames=1))
    elif way != "stages":
        chosen = of_rounds(chosen, way)
    out = tmp_path / "run"
    learn(tiny_dataset, chosen, out, known=KNOWN)
    folder = RunFolder(out)
    assert folder.known_pairs() == KNOWN
    assert folder.model()["corrections"] == {"same": 2, "different": 1}
    images = way == "images"
    tracklets = load_samples(open_dataset(tiny_dataset), 32, 32, images=images).tracklets
    assert len(tracklets) == (48 if images else 12)
    places = {name: [i for i, one in enumerate(tracklets) if one.crops[0].tracklet == name] for name in NAMES}
    assert len(folder.stages()) > 1
    for stage in folder.stages():
        held = folder.load(stage)
        for labels in (held.labels, held.next_labels):
            for one, other in KNOWN.same:
                assert len(set(labels[places[one] + places[other]].tolist())) == 1
            for one, other in KNOWN.different:
                assert not set(labels[places[one]].tolist()) & set(labels[places[other]].tolist())


def test_a_resume_keeps_the_corrections_to_the_bit(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    expected = learn(tiny_dataset, recipe, whole, known=KNOWN)

    def stop(step: Step) -> None:
        if step.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(tiny_dataset, recipe, out, known=KNOWN, on_step=stop)
    other = replace(KNOWN, different=())
    for wrong in (other, NO_PAIRS):
        with pytest.raises(RunError, match="cannot resume with other corrections: it began with 3 about"):
            learn(tiny_dataset, recipe, out, known=wrong, resume=True)
    found = learn(tiny_dataset, recipe, out, resume=True)  # those that it began with
    assert without_times(found) == without_times(expected)
    assert weights(out) == weights(whole)
    assert all(tensors(out, stage) == tensors(whole, stage) for stage in RunFolder(out).stages())
    assert learn(tiny_dataset, recipe, out, known=KNOWN, resume=True) == found


def test_a_run_that_began_without_is_not_continued_with(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    learn(tiny_dataset, recipe, tmp_path)
    with pytest.raises(RunError, match="it began with 0 about its tracklets, got 3"):
        learn(tiny_dataset, recipe, tmp_path, known=KNOWN, resume=True)
    assert not (tmp_path / "corrections.json").exists()
    assert "corrections" not in RunFolder(tmp_path).model()


@pytest.mark.parametrize("damage", ["gone", "changed", "no json"])
def test_a_damaged_file_is_named(tiny_dataset: Path, recipe: Recipe, tmp_path: Path, damage: str) -> None:
    learn(tiny_dataset, recipe, tmp_path, known=KNOWN)
    path = tmp_path / "corrections.json"
    if damage == "gone":
        path.unlink()
    else:
        path.write_text(replace(KNOWN, same=()).to_json() if damage == "changed" else "{")
    with pytest.raises(RunError, match=r"corrections\.json: missing or damaged"):
        learn(tiny_dataset, recipe, tmp_path, resume=True)


def test_pairs_of_tracklets_that_are_held_out_are_said(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    chosen = replace(recipe, training=replace(recipe.training, held_out=2))
    said: list[str] = []
    names = [tracklet.name for tracklet in open_dataset(tiny_dataset).tracklets]
    every = KnownPairs(same=tuple((names[0], name) for name in names[1:]))
    with pytest.raises(InputError, match="all tracklets show one person"):
        learn(tiny_dataset, chosen, tmp_path, known=every, on_warning=said.append)
    (line,) = said
    assert line == (
        "2 of 11 corrected pairs are not used, because one of their tracklets is held out of training or cannot be read"
    )
