"""Ways of clustering: the paper's, and another that the loop is given in its place."""

import json
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training_rounds import learn, tensors, without_times
from torch import Tensor
from torch.nn import functional as F

from reid_toolkit.config import MergingRecipe, Recipe
from reid_toolkit.training import rounds
from reid_toolkit.training.clustering import Stages, Targets
from reid_toolkit.training.features import Features
from reid_toolkit.training.progress import Step
from reid_toolkit.training.run_folder import RunFolder
from reid_toolkit.training.schedule import Plan, plan
from reid_toolkit.training.selection import START, Row

CPU = torch.device("cpu")
THREE = Plan(merges=2, stages=3, steps=(1, 1, 1), per_epoch=1)


def features(count: int) -> Features:
    rows = F.normalize(torch.randn(count, 4, generator=torch.Generator().manual_seed(0)))
    return Features(rows, rows, torch.stack([rows, rows]))


def test_the_papers_way_merges_k_after_each_stage_but_the_last() -> None:
    stages, seen = Stages(THREE, None, MergingRecipe(), CPU), features(7)
    labels = stages.initial(seen)
    assert labels.tolist() == list(range(7))
    for stage, (merges, left) in enumerate([(2, 5), (2, 3), (0, 3)]):
        before = labels
        labels, row = stages.after(stage, seen, before)
        assert row == {"merges": merges, "merges_forbidden": None, "violations_without": None}
        assert int(labels.max()) + 1 == left
        assert all(len(labels[before == cluster].unique()) == 1 for cluster in before.unique())  # none is split


def test_the_papers_way_is_over_after_its_stages_or_when_no_merge_is_left() -> None:
    every = np.array([[0, 1], [0, 2], [1, 2]])
    stages = Stages(THREE, every, MergingRecipe(), CPU)
    labels, row = stages.after(0, features(3), torch.arange(3))
    assert labels.tolist() == [0, 1, 2]
    assert not stages.is_over([])
    assert not stages.is_over([{"merges": 2}, {"merges": 2}])
    assert stages.is_over([row])
    assert stages.is_over([{"merges": 2}] * 3)


@dataclass(frozen=True)
class Anew:
    """Another way: two stages, each of clusters that owe nothing to those before."""

    schedule: Plan
    calls: list[int]

    def initial(self, features: Features) -> Tensor:
        self.calls.append(-1)
        return torch.arange(len(features.descriptors)) % 3

    def targets(self, stage: int, labels: Tensor) -> Targets:
        return Targets(labels)

    def after(self, stage: int, features: Features, labels: Tensor) -> tuple[Tensor, Row]:
        self.calls.append(stage)
        return torch.arange(len(labels)) // 2, {"merges": 6, "of_its_own": 0.5}

    def is_over(self, metrics: Sequence[Row]) -> bool:
        return len(metrics) == 2


def test_the_loop_takes_another_way(
    tiny_dataset: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def anew(recipe: Recipe, samples: Sized, device: torch.device, taught: None, known: None) -> Anew:
        return Anew(plan(recipe, len(samples)), calls)

    monkeypatch.setattr(rounds, "clustering_of", anew)
    whole = learn(tiny_dataset, recipe, tmp_path / "whole")
    assert [(row["clusters"], row["merges"], row["of_its_own"]) for row in whole] == [(3, 6, 0.5), (6, 6, 0.5)]
    assert calls == [-1, 0, 1]
    start, *rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert start["stage"] == START
    assert rows == whole
    assert RunFolder(tmp_path / "whole").load(1).labels.tolist() == [i // 2 for i in range(12)]

    def stop(step: Step) -> None:
        if step.stage == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(tiny_dataset, recipe, tmp_path / "stopped", on_step=stop)
    calls.clear()
    assert without_times(learn(tiny_dataset, recipe, tmp_path / "stopped", resume=True)) == without_times(whole)
    assert calls == [1]  # the labels of stage 1 came from the file
    assert tensors(tmp_path / "stopped", 1) == tensors(tmp_path / "whole", 1)
