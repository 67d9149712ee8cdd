import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_backbone import DIMENSION, SMALL
from torch.nn import functional as F

from reid_toolkit.config import NetworkRecipe, Recipe, TrainingRecipe
from reid_toolkit.datasets import Dataset, open_dataset
from reid_toolkit.datasets.manifest import read_identities
from reid_toolkit.errors import RunError
from reid_toolkit.images import Image
from reid_toolkit.recipe_files import dump_recipe, load_recipe
from reid_toolkit.training import distillation
from reid_toolkit.training.distillation import ModelGuide, RunGuide, Student, distill, distillation_losses
from reid_toolkit.training.network import ReidNetwork, build_network, standardise, to_rgb
from reid_toolkit.training.run_folder import RunFolder, load_network, load_tensors, save_tensors
from reid_toolkit.training.samples import load_samples

STUDENT = Student(SMALL, weights="none", epochs=3, batch_size=16, learning_rate=2e-3)


@pytest.fixture
def data(tiny_dataset: Path) -> Dataset:
    return open_dataset(tiny_dataset)


@pytest.fixture
def teacher(tmp_path: Path, data: Dataset) -> Path:
    """A run whose network is random, but for batch norm's statistics: so it tells the crops apart."""
    recipe = Recipe(
        network=NetworkRecipe(SMALL, weights="none", embedding=8, height=32, width=32),
        training=TrainingRecipe(crop_scale=1.0, flip=False),
    )
    folder = RunFolder(tmp_path / "teacher")
    folder.start(recipe, data.fingerprint)
    network = build_network(recipe.network, 7)
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        network.train()(all_crops(data))
    save_tensors(folder.path / "best.safetensors", network.state_dict(), {"stage": "0"})
    return folder.path


def all_crops(data: Dataset) -> torch.Tensor:
    """What the network takes."""
    samples = load_samples(data, 32, 32, images=True)
    return standardise(to_rgb(samples.read(np.arange(len(samples.crops)))))


def state(run: Path, name: str = "best.safetensors") -> dict[str, torch.Tensor]:
    return load_tensors(run / name)[0]


def same(a: Path, b: Path) -> bool:
    ours, theirs = state(a), state(b)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def apart(run: Path, other: Path, data: Dataset) -> float:
    """Mean squared difference of two runs' cosines between all crops."""
    images = all_crops(data)
    with torch.no_grad():
        rows = [F.normalize(load_network(RunFolder(one), "best").eval()(images), dim=1) for one in (run, other)]
    return float(F.mse_loss(rows[0] @ rows[0].T, rows[1] @ rows[1].T))


def test_a_student_comes_nearer_to_its_teacher(teacher: Path, data: Dataset, tmp_path: Path) -> None:
    out, steps = tmp_path / "student", []
    longer = replace(STUDENT, epochs=16, learning_rate=1e-3)
    metrics = distill(teacher, data, longer, out, on_step=lambda done, total: steps.append((done, total)))
    assert [row["epoch"] for row in metrics] == list(range(16))
    assert metrics[-1]["descriptor_loss"] < 0.85 * metrics[0]["descriptor_loss"]
    assert metrics[-1]["pairwise_loss"] < metrics[0]["pairwise_loss"]
    assert steps == [(done, 48) for done in range(1, 49)]  # 48 crops in threes of 16

    folder = RunFolder(out)
    assert folder.recipe().network == NetworkRecipe(
        SMALL, weights="none", embedding=DIMENSION, dropout=0.0, height=32, width=32
    )
    assert folder.dataset() == data.fingerprint
    assert folder.model()["stage"] == "distilled"
    assert [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()] == metrics
    begun = tmp_path / "begun"
    shutil.copytree(out, begun)
    shutil.copy(out / "checkpoints" / "initial.safetensors", begun / "best.safetensors")
    assert apart(out, teacher, data) < 0.5 * apart(begun, teacher, data), "by the descriptors that are exported"


def test_interrupted_anywhere_it_gives_the_same(
    teacher: Path, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    metrics = distill(teacher, data, STUDENT, whole)

    def stop(done: int, _: int | None) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(teacher, data, STUDENT, broken, on_step=stop)
    with pytest.raises(RunError, match="holds a run already: give --resume"):
        distill(teacher, data, STUDENT, broken)
    # Between the state and what is made of it.
    with monkeypatch.context() as patch:
        patch.setattr(distillation, "publish", lambda *_: stop(5, None))
        with pytest.raises(KeyboardInterrupt):
            distill(teacher, data, STUDENT, broken, resume=True)
    seen: list[int] = []
    again = distill(teacher, data, STUDENT, broken, resume=True, on_step=lambda done, _: seen.append(done))
    assert again == metrics
    assert seen == [7, 8, 9], "the third epoch alone"
    assert same(whole, broken)
    assert distill(teacher, data, STUDENT, broken, resume=True) == metrics, "finished: nothing is done"
    assert same(whole, broken)


def test_resuming_something_else_is_refused(teacher: Path, data: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    one = replace(STUDENT, epochs=1)
    distill(teacher, data, one, out)
    with pytest.raises(RunError, match=r"cannot resume with another recipe: .*first_learning_rate"):
        distill(teacher, data, replace(one, learning_rate=0.1), out, resume=True)
    weights = state(teacher)
    weights["embedding.bias"] += 1
    save_tensors(teacher / "best.safetensors", weights, {"stage": "0"})
    with pytest.raises(RunError, match="cannot resume with another teacher"):
        distill(teacher, data, one, out, resume=True)
    path = out / "checkpoints" / "distillation.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(RunError, match="damaged checkpoint"):
        distill(teacher, data, one, out, resume=True)


def test_identities_do_not_reach_the_student(teacher: Path, data: Dataset, tiny_dataset: Path, tmp_path: Path) -> None:
    named = data.with_identities(read_identities(tiny_dataset / "identities.csv"))
    one = replace(STUDENT, epochs=1)
    distill(teacher, data, one, tmp_path / "a")
    distill(teacher, named, one, tmp_path / "b")
    assert same(tmp_path / "a", tmp_path / "b")


def test_a_loss_that_is_not_finite_is_named(teacher: Path, data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"the loss is not finite: give a lower --learning-rate"):
        distill(teacher, data, replace(STUDENT, learning_rate=1e30), tmp_path / "out")


@torch.no_grad()
def test_losses_are_zero_for_the_teacher_itself_and_as_written() -> None:
    network = ReidNetwork(NetworkRecipe(SMALL, weights="none", embedding=DIMENSION, dropout=0.0, height=32, width=32))
    network.eval()
    images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    wanted = F.normalize(network(images), dim=1)
    network.embedding.weight.copy_(torch.eye(DIMENSION))  # changes nothing, but for batch norm's epsilon
    assert distillation_losses(network, images, wanted).tolist() == pytest.approx([0, 0], abs=1e-5)

    other = F.normalize(torch.randn(6, DIMENSION, generator=torch.Generator().manual_seed(1)), dim=1)
    descriptors, pairs = distillation_losses(network, images, other).tolist()
    slow = [1 - float(a @ b) for a, b in zip(wanted, other, strict=True)]
    assert descriptors == pytest.approx(np.mean(slow), abs=1e-4)
    squares = [
        ((wanted[i] - wanted[j]).square().sum() - (other[i] - other[j]).square().sum()).item() ** 2 / 4
        for i in range(6)
        for j in range(6)
    ]
    assert pairs == pytest.approx(np.mean(squares), abs=1e-4)


@dataclass(frozen=True)
class About:
    height: int
    width: int
    dimension: int


class Served:
    """A run's network as a model's file serves it: bytes in, BGR."""

    batch_size = 8
    fingerprint = "0123456789abcdef"

    def __init__(self, run: Path, height: int = 32, width: int = 32) -> None:
        self.network = load_network(RunFolder(run), "best").eval()
        self.metadata = About(height, width, self.network.dimension)
        self.seen: set[tuple[int, ...]] = set()

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        self.seen |= {image.shape for image in images}
        with torch.no_grad():
            return F.normalize(self.network(standardise(to_rgb(torch.from_numpy(np.stack(images))))), dim=1).numpy()


def test_a_model_sees_a_view_as_the_run_does_that_it_comes_from(teacher: Path, data: Dataset) -> None:
    samples = load_samples(data, 32, 32, images=True)
    views = to_rgb(samples.read(np.arange(8))).flip(3)
    by_run, by_model = RunGuide(teacher, "best", torch.device("cpu"))(views), ModelGuide(Served(teacher))(views)
    assert torch.allclose(by_run, by_model, atol=1e-4)
    assert not torch.allclose(by_run, ModelGuide(Served(teacher))(views.flip(1)), atol=5e-2), "colours count"


def test_a_student_of_a_model_may_be_smaller_than_it(teacher: Path, data: Dataset, tmp_path: Path) -> None:
    out, model = tmp_path / "student", Served(teacher, 64, 48)
    longer = replace(STUDENT, epochs=8, size=(32, 32))
    metrics = distill(model, data, longer, out)
    assert model.seen == {(64, 48, 3)}
    network = RunFolder(out).recipe().network
    assert (network.height, network.width, network.embedding) == (32, 32, model.network.dimension)
    assert metrics[-1]["descriptor_loss"] < 0.85 * metrics[0]["descriptor_loss"]
    assert distill(model, data, longer, out, resume=True) == metrics
    other = Served(teacher, 64, 48)
    other.fingerprint = "f" * 16
    with pytest.raises(RunError, match="cannot resume with another teacher"):
        distill(other, data, longer, out, resume=True)


def test_a_student_of_a_run_of_rounds_has_no_rounds(tmp_path: Path) -> None:
    recipe = STUDENT.recipe(load_recipe("dbc_cameras"), 1280)
    assert (recipe.rounds.count, recipe.training.first_epochs, recipe.training.padding) == (0, 3, 10)
    (tmp_path / "config.toml").write_text(dump_recipe(recipe))
    assert load_recipe(str(tmp_path / "config.toml")) == recipe


def test_a_student_may_have_a_smaller_batch_than_a_part_of_its_teachers() -> None:
    """Its batch norm always counts the whole batch."""
    teacher = load_recipe("cluster_contrast")
    for batch in (32, 100, 256):
        training = replace(STUDENT, batch_size=batch).recipe(teacher, 2048).training
        assert (training.batch_size, training.norm_crops) == (batch, 0)
