"""A teacher's eyes give the first rounds their clusters."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_backbone import SMALL
from test_training_rounds import learn, tensors, without_times
from torch.nn.functional import normalize

from reid_toolkit.config import NetworkRecipe, Recipe, RoundsRecipe, TrainingRecipe
from reid_toolkit.datasets import open_dataset
from reid_toolkit.errors import InputError, RecipeError, RunError
from reid_toolkit.images import Image
from reid_toolkit.method.lookup_table import LookupTable
from reid_toolkit.training.batches import draw_epoch
from reid_toolkit.training.clustering import Rounds, Targets
from reid_toolkit.training.features import Features
from reid_toolkit.training.network import build_network
from reid_toolkit.training.progress import Step
from reid_toolkit.training.rounds import batches, lesson_means
from reid_toolkit.training.run_folder import RunFolder
from reid_toolkit.training.samples import load_samples
from reid_toolkit.training.schedule import plan
from reid_toolkit.training.step import Learner
from reid_toolkit.training.teaching import SOFTER, describe, lesson_loss, taught, taught_by

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
            until_before_cameras=0.7, taught=2, teacher=Colours.fingerprint, teacher_weight=1.0,
        ),
    )  # fmt: skip


def test_taught_rounds_learn_the_teachers_clusters_and_the_others_their_own(
    tiny_dataset: Path, recipe: Recipe, tmp_path: Path
) -> None:
    samples = load_samples(open_dataset(tiny_dataset), 32, 32)
    lessons = taught(Colours(), samples.tracklets, samples.cameras, recipe, tmp_path / "t.safetensors")
    own_rows = normalize(torch.randn(12, 8, generator=torch.Generator().manual_seed(1)))
    own = Features(own_rows, own_rows, torch.zeros(2, 12, 8))
    cameras = tuple(samples.cameras)
    student = Rounds(plan(recipe, 12), cameras, None, recipe, CPU, lessons)
    free = replace(recipe, rounds=replace(recipe.rounds, taught=0, teacher="", teacher_weight=0.0, cameras_from=0))
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
    alone = replace(recipe, rounds=replace(recipe.rounds, taught=0, teacher="", teacher_weight=0.0))
    with pytest.raises(RunError, match=r"the teacher \(none\), got 0123456789abcdef"):
        learn(tiny_dataset, alone, tmp_path / "run", teacher=Colours())


@pytest.mark.parametrize("wrong", [{"taught": 0}, {"teacher": ""}, {"taught": -1}, {"taught": 4}])
def test_a_recipe_says_both_or_neither(recipe: Recipe, wrong: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match=r"rounds\.taught is"):
        replace(recipe.rounds, **wrong)


def test_the_run_says_who_taught_it(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    learn(tiny_dataset, recipe, tmp_path / "run", teacher=Colours())
    rounds = RunFolder(tmp_path / "run").recipe().rounds
    assert (rounds.taught, rounds.teacher) == (2, Colours.fingerprint)


def unit_rows(count: int, width: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)))


def test_the_lesson_is_hintons_divergence_between_two_views_of_the_clusters() -> None:
    embedded, table, lessons, means = (unit_rows(n, d, n + d) for n, d in ((6, 8), (4, 8), (6, 5), (4, 5)))
    terms = []
    for sample in range(6):
        own, wanted = (
            np.exp((rows[sample] @ all_means.T).double().numpy() / (SOFTER * 0.05))
            for rows, all_means in ((embedded, table), (lessons, means))
        )
        own, wanted = own / own.sum(), wanted / wanted.sum()
        terms.append((wanted * np.log(wanted / own)).sum())
    found = lesson_loss(embedded, table, lessons, means, 0.05)
    assert float(found) == pytest.approx(SOFTER**2 * np.mean(terms), rel=1e-5)
    assert float(lesson_loss(lessons, means, lessons, means, 0.05)) == pytest.approx(0, abs=1e-6)


def test_taught_rounds_learn_the_teachers_distances_as_well(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    """In taught rounds only, and only if they have a weight."""
    samples = load_samples(open_dataset(tiny_dataset), 32, 32)
    seen = taught(Colours(), samples.tracklets, samples.cameras, recipe, tmp_path / "t.safetensors")
    student = Rounds(plan(recipe, 12), tuple(samples.cameras), None, recipe, CPU, seen)
    labels = student.cluster(0, seen)
    assert torch.equal(student.targets(1, labels).lessons, seen.descriptors)
    assert student.targets(2, labels).lessons is None
    weights = []
    for weight in (0.0, 1.0):
        changed = replace(recipe, rounds=replace(recipe.rounds, teacher_weight=weight))
        learn(tiny_dataset, changed, tmp_path / str(weight), teacher=Colours())
        weights.append(tensors(tmp_path / str(weight), 0))
    assert weights[0] != weights[1]
    off = replace(recipe, rounds=replace(recipe.rounds, teacher_weight=0.0))
    assert Rounds(plan(off, 12), tuple(samples.cameras), None, off, CPU, seen).targets(0, labels).lessons is None


def test_the_network_comes_to_see_the_clusters_as_its_teacher_does() -> None:
    """Gradient descent on the lesson alone leads to the teacher's view."""
    table, lessons, means = unit_rows(4, 8, 1), unit_rows(6, 5, 2), unit_rows(4, 5, 3)
    free = unit_rows(6, 8, 4).requires_grad_()
    optimiser = torch.optim.Adam([free], lr=0.05)
    before = float(lesson_loss(normalize(free.detach()), table, lessons, means, 0.5))
    for _ in range(300):
        optimiser.zero_grad()
        loss = lesson_loss(normalize(free), table, lessons, means, 0.5)
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < before / 20


def test_a_teacher_given_for_the_first_time_has_two_thirds_of_the_rounds_and_the_weight_1(recipe: Recipe) -> None:
    alone = replace(recipe, rounds=replace(recipe.rounds, taught=0, teacher="", teacher_weight=0.0))
    rounds = taught_by(alone, Colours()).rounds
    assert (rounds.taught, rounds.teacher, rounds.teacher_weight) == (2, Colours.fingerprint, 1.0)


def test_the_teacher_that_a_recipe_names_is_not_replaced(recipe: Recipe) -> None:
    assert taught_by(recipe, Colours()) == recipe
    other = replace(recipe, rounds=replace(recipe.rounds, teacher="old"))
    with pytest.raises(InputError, match=f"names the teacher old, got {Colours.fingerprint}: expected its model"):
        taught_by(other, Colours())


def test_a_run_that_began_without_lessons_goes_on_without_them(recipe: Recipe) -> None:
    """Earlier versions only took clusters from a teacher."""
    before = replace(recipe, rounds=replace(recipe.rounds, taught=1, teacher_weight=0.0))
    assert taught_by(before, Colours()) == before


def test_each_sample_of_a_batch_comes_with_its_own_lesson(tiny_dataset: Path, recipe: Recipe) -> None:
    """Also where an epoch is continued, and where samples are left out of the round."""
    samples = load_samples(open_dataset(tiny_dataset), 32, 32)
    classes = torch.tensor([-1, 0, 0, 1, 1, -1, 2, 2, 3, 3, -1, 0])
    numbers = normalize(torch.arange(1.0, 13)[:, None] ** torch.tensor([0.0, 1.0]))
    targets = Targets(classes, lessons=numbers)
    drawn = draw_epoch(samples, recipe, classes, 0, 0)
    network = build_network(recipe.network, 0)
    table = LookupTable(unit_rows(4, network.dimension, 1))
    learner = Learner(network, table, recipe.training, means=lesson_means(targets, CPU), teacher_weight=1.0)
    for first in range(2):
        for step, (batch, *_) in enumerate(batches(drawn, first, samples, targets, learner), first):
            assert torch.equal(batch.lessons, numbers[drawn.samples[step]])
            assert torch.equal(batch.classes, classes[drawn.samples[step]])
    for number in range(4):
        mean = numbers[classes == number].mean(0)
        torch.testing.assert_close(learner.means[number], mean / mean.norm())
