from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_toolkit.config import MergingRecipe
from reid_toolkit.datasets.dataset import times
from reid_toolkit.method.constraints import cannot_link_pairs
from reid_toolkit.method.merging import merge_clusters
from reid_toolkit.records import Crop, Tracklet
from reid_toolkit.training import merging
from reid_toolkit.training.merging import can_merge, cannot_link, merge_allowed
from reid_toolkit.training.samples import Samples


def samples(*seen: tuple[str, str, float | None, float | None]) -> Samples:
    """(recording, camera, start, end) each."""
    tracklets = tuple(
        Tracklet(str(i), camera, tuple(Crop(Path("/x.jpg"), camera, str(i), 0, t, recording=name) for t in (a, b)))
        for i, (name, camera, a, b) in enumerate(seen)
    )
    crops = tuple(crop for tracklet in tracklets for crop in tracklet.crops)
    return Samples(tracklets, crops, np.arange(0, len(crops) + 1, 2), 32, 32, None)


def test_seen_at_once_in_one_camera() -> None:
    found = cannot_link(samples(("a", "door", 0, 5), ("a", "door", 4, 9), ("a", "door", 6, 9), ("a", "hall", 4, 9)))
    assert found.tolist() == [[0, 1], [1, 2]]


def test_unknown_times_make_no_pair_and_spoil_none() -> None:
    found = cannot_link(samples(("a", "door", 0, 5), ("a", "door", None, None), ("a", "door", 4, 9)))
    assert found.tolist() == [[0, 2]]
    assert len(cannot_link(samples(("a", "", None, None), ("a", "", None, None)))) == 0


def test_recordings_that_each_begin_at_zero_are_not_compared() -> None:
    assert len(cannot_link(samples(("monday", "door", 0, 5), ("tuesday", "door", 4, 9)))) == 0


def test_where_no_recording_is_named_times_are_not_compared() -> None:
    """In a flat folder nothing tells two recordings of a camera apart, and both begin at 0."""
    assert len(cannot_link(samples(("", "door", 0, 5), ("", "door", 4, 9)))) == 0
    day = 1_790_000_000.0
    assert len(cannot_link(samples(("", "door", day, day + 5), ("", "door", day + 4, day + 9)))) == 1


def test_folders_that_ingest_made_before_it_named_recordings_are_known() -> None:
    def ingested(recording: str, track: str, name: str) -> Tracklet:
        folder = Path("/set/crops") / recording / track
        return Tracklet(name, "door", tuple(Crop(folder / f"{t}.jpg", "door", name, t, float(t)) for t in (0, 5)))

    tracklets = [
        ingested("monday", "00001", "monday-00001"),
        ingested("monday", "00002", "monday-00002"),
        ingested("tuesday", "00001", "tuesday-00001"),
        ingested("people", "anna", "anna"),
        ingested("people", "ben", "ben"),
    ]
    assert cannot_link_pairs(*times(tracklets)).tolist() == [[0, 1]]


def test_absolute_times_are_compared_across_recordings() -> None:
    day = 1_790_000_000.0
    found = cannot_link(samples(("a", "door", day, day + 5), ("b", "door", day + 4, day + 9)))
    assert found.tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("labels", "pairs", "possible"),
    [
        ([0, 1, 2], None, True),
        ([0, 0, 0], None, False),
        ([0, 1, 2], [[0, 1], [0, 2]], True),
        ([0, 1, 2], [[0, 1], [0, 2], [1, 2]], False),
        ([0, 1, 0, 1], [[0, 1], [2, 3]], False),
        ([0, 1, 2, 0], [[0, 1], [1, 3], [0, 2], [2, 3]], True),
    ],
)
def test_whether_a_merge_is_left(labels: list[int], pairs: list[list[int]] | None, possible: bool) -> None:
    assert can_merge(np.array(labels), None if pairs is None else np.array(pairs)) is possible


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_what_the_constraints_stop(data: st.DataObject) -> None:
    """Against a replay of the unconstrained history, cluster by cluster, and against the constrained merging itself."""
    count = data.draw(st.integers(3, 14))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    features = torch.from_numpy(rng.integers(0, 9, (count, 2)) / 8)  # some alike: ties
    labels = torch.from_numpy(np.unique(rng.integers(0, count, count), return_inverse=True)[1])
    clusters = int(labels.max()) + 1
    every = [(i, j) for i in range(count) for j in range(i + 1, count) if labels[i] != labels[j]]
    chosen = rng.random(len(every)) < data.draw(st.sampled_from([0.0, 0.1, 0.5, 0.9]))
    pairs = np.array([pair for pair, drawn in zip(every, chosen, strict=True) if drawn], np.int64).reshape(-1, 2)
    if not can_merge(labels.numpy(), pairs):
        return
    merges = data.draw(st.integers(1, clusters - 1))
    recipe = MergingRecipe(trade_off=0.3)
    merging, stopped = merge_allowed(features, labels, merges, pairs, recipe, torch.device("cpu"))
    assert merging.history == merge_clusters(features, labels, merges, trade_off=0.3, cannot_link=pairs).history
    assert not any(merging.labels[i] == merging.labels[j] for i, j in pairs)
    if not len(pairs):
        assert stopped == {}
        return
    members = {int(np.flatnonzero(labels == c)[0]): set(np.flatnonzero(labels == c).tolist()) for c in range(clusters)}
    forbidden = 0
    for a, b, _ in merge_clusters(features, labels, merges, trade_off=0.3).history:
        forbidden += any({i, j} & members[a] and {i, j} & members[b] for i, j in pairs.tolist())
        members[a] |= members.pop(b)
    together = sum(any({i, j} <= own for own in members.values()) for i, j in pairs.tolist())
    assert stopped == {"merges_forbidden": forbidden, "violations_without": together / len(pairs)}


def test_the_recipe_decides_how_merges_are_chosen() -> None:
    features = torch.tensor([[0.0], [1.0], [1.9], [3.1]])
    labels = torch.tensor([0, 0, 1, 2])
    buc = MergingRecipe(trade_off=0, linkage="minimum", size_weight=0.5, metric="squared_euclidean")
    for recipe, expected in ((MergingRecipe(trade_off=0), (2, 3)), (buc, (0, 2))):
        merging, stopped = merge_allowed(features, labels, 1, None, recipe, torch.device("cpu"))
        assert merging.history[0][:2] == expected
        assert stopped == {}


def test_merging_keeps_within_the_containers_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(merging, "machine_memory", lambda: 400 << 20)
    monkeypatch.setattr(
        merging,
        "merge_clusters",
        lambda *given, **how: (asked.append(how["max_memory"]), merge_clusters(*given, **how))[1],
    )
    descriptors = torch.nn.functional.normalize(torch.randn(6, 4), dim=1)
    merge_allowed(descriptors, torch.arange(6), 2, None, MergingRecipe(), torch.device("cpu"))
    assert asked == [100 << 20]
