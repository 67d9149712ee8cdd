"""A teacher's eyes give the first rounds their clusters."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_backbone import SMALL
from test_training_rounds import learn, tensors, without_times

from reid_toolkit.config import NetworkRecipe, Recipe, RoundsRecipe, TrainingRecipe
from reid_toolkit.datasets import open_dataset
from reid_toolkit.errors import RecipeError, RunError
from reid_toolkit.images import Image
from reid_toolkit.training.clustering import Rounds
from reid_toolkit.training.features import Features
from reid_toolkit.training.progress import Step
from reid_toolkit.training.run_folder import RunFolder
from reid_toolkit.training.samples import load_samples
from reid_toolkit.training.schedule import plan
from reid_toolkit.training.teaching import describe, taught

CPU = torch.device("cpu")


@dataclass
class Colours:
    """A teacher that knows people by the colours they wear, whatever the camera's light."""

    fingerprint: str = "0123456789abcdef"
    batch_size: int = 5
    asked: list[int] = field(default_factory=list)

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        self.asked.append(len(images))
        rows = np.array([np.concatenate([part.mean((0, 1)) for part in np.array_split(one, 4)]) for one in images])
        rows = rows - rows.mean(1, keepdims=True)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def recipe() -> Recipe:
    """Three rounds on the 12 tracklets of ``tiny_dataset``, two of them taught."""
    return Recipe(
        selection="last",
        network=NetworkRecipe(
            SMALL, weights="none", head="batch_norm", embedding=0, dropout=0.0, last_stride=1, height=32, width=32
        ),
        training=TrainingRecipe(frames=2, batch_size=6, optimiser="adam", backbone_factor=1.0, crop_scale=1.0),
        rounds=RoundsRecipe(
            count=3, steps=2, per_cluster=2, cameras_from=3, neighbours=3, within=1, across=2, smallest=2, until=0.7,
            until_before_cameras=0.7, taught=2, teacher=Colours.fingerprint,
        ),
    )  # fmt: skip


def test_taught_rounds_learn_the_teachers_clusters_and_the_others_their_own(
    tiny_dataset: Path, recipe: Recipe, tmp_path: Path
) -> None:
    samples = load_samples(open_dataset(tiny_dataset), 32, 32)
    lessons = taught(Colours(), samples.tracklets, samples.cameras, recipe, tmp_path / "t.safetensors")
    own_rows = torch.nn.functional.normalize(torch.randn(12, 8, generator=torch.Generator().manual_seed(1)))
    own = Features(own_rows, own_rows, torch.zeros(2, 12, 8))
    cameras = tuple(samples.cameras)
    student = Rounds(plan(recipe, 12), cameras, None, recipe, CPU, lessons)
    free = replace(recipe, rounds=replace(recipe.rounds, taught=0, teacher="", cameras_from=0))
    teacher = Rounds(plan(free, 12), cameras, None, free, CPU)
    for number in range(2):
        assert student.cluster(number, own).tolist() == teacher.cluster(number, lessons).tolist()
    alone = replace(free, rounds=replace(free.rounds, cameras_from=3))
    assert (
        student.cluster(2, own).tolist() == Rounds(plan(alone, 12), cameras, None, alone, CPU).cluster(2, own).tolist()
    )
    assert student.cluster(2, own).tolist() != student.cluster(1, own).tolist()


def test_a_sample_is_described_as_at_serving(tiny_dataset: Path) -> None:
    samples = load_samples(open_dataset(tiny_dataset), 32, 32)
    rows = describe(Colours(), samples.tracklets)
    assert torch.allclose(rows.norm(dim=1), torch.ones(12), atol=1e-6)
    one = describe(Colours(batch_size=100), samples.tracklets[3:4])
    assert torch.allclose(one[0], rows[3], atol=1e-6)


def test_the_teacher_is_asked_once_also_by_a_run_that_goes_on(
    tiny_dataset: Path, recipe: Recipe, tmp_path: Path
) -> None:
    first = Colours()
    whole = learn(tiny_dataset, recipe, tmp_path / "whole", teacher=first)
    assert sum(first.asked) == 48

    def stop(step: Step) -> None:
        if step.stage == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(tiny_dataset, recipe, tmp_path / "stopped", on_step=stop, teacher=Colours())
    again = Colours()
    rest = learn(tiny_dataset, recipe, tmp_path / "stopped", resume=True, teacher=again)
    assert again.asked == []
    assert without_times(rest) == without_times(whole)
    assert tensors(tmp_path / "stopped", 2) == tensors(tmp_path / "whole", 2)


def test_what_was_kept_is_asked_anew_where_it_is_damaged_or_of_another(
    tiny_dataset: Path, recipe: Recipe, tmp_path: Path
) -> None:
    path = tmp_path / "t.safetensors"
    samples = load_samples(open_dataset(tiny_dataset), 32, 32)
    ask = [Colours(), Colours(), Colours(fingerprint="f" * 16), Colours()]
    found = []
    for number, teacher in enumerate(ask):
        if number == 1:
            path.write_bytes(path.read_bytes()[:50])
        found.append(taught(teacher, samples.tracklets, samples.cameras, recipe, path).descriptors)
    assert [bool(teacher.asked) for teacher in ask] == [True] * 4
    assert all(torch.equal(one, found[0]) for one in found)
    fewer = Colours()
    taught(fewer, samples.tracklets[1:], samples.cameras[1:], recipe, path)
    assert sum(fewer.asked) == 44


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        (None, "its clusters come from the teacher 0123456789abcdef, got none"),
        (Colours(fingerprint="f" * 16), "got ffffffffffffffff"),
    ],
    ids=["none", "another"],
)
def test_without_its_teacher_a_run_does_not_begin(
    tiny_dataset: Path, recipe: Recipe, tmp_path: Path, teacher: Colours | None, said: str
) -> None:
    with pytest.raises(RunError, match=said):
        learn(tiny_dataset, recipe, tmp_path / "run", teacher=teacher)
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_the_recipe_has_not_is_refused(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    alone = replace(recipe, rounds=replace(recipe.rounds, taught=0, teacher=""))
    with pytest.raises(RunError, match=r"the teacher \(none\), got 0123456789abcdef"):
        learn(tiny_dataset, alone, tmp_path / "run", teacher=Colours())


@pytest.mark.parametrize("wrong", [{"taught": 0}, {"teacher": ""}, {"taught": -1}])
def test_a_recipe_says_both_or_neither(recipe: Recipe, wrong: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match=r"rounds\.taught is"):
        replace(recipe.rounds, **wrong)


def test_the_run_says_who_taught_it(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    learn(tiny_dataset, recipe, tmp_path / "run", teacher=Colours())
    rounds = RunFolder(tmp_path / "run").recipe().rounds
    assert (rounds.taught, rounds.teacher) == (2, Colours.fingerprint)
