from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_backbone import SMALL

from reid_toolkit.config import NetworkRecipe, Recipe, RoundsRecipe, TrainingRecipe
from reid_toolkit.datasets import Dataset
from reid_toolkit.errors import InputError
from reid_toolkit.recipe_files import load_recipe
from reid_toolkit.records import Crop, Tracklet
from reid_toolkit.training import forecast
from reid_toolkit.training.choosing import fit, for_gpu, recipe_name, shortened, suited
from reid_toolkit.training.forecast import Costs, time_parts
from reid_toolkit.training.schedule import plan

CPU = torch.device("cpu")
USUAL = load_recipe("dbc_cameras")


@pytest.mark.parametrize(
    ("lengths", "name"),
    [
        ([1, 1, 1], "dbc_cameras"),
        ([1, 1, 9], "dbc_cameras"),
        ([1, 9], "dbc_cameras_tracklets"),
        ([5, 1, 2], "dbc_cameras_tracklets"),
    ],
)
def test_pictures_and_tracklets_have_a_recipe_each(tmp_path: Path, lengths: list[int], name: str) -> None:
    tracklets = tuple(
        Tracklet(
            f"{number}",
            "a",
            tuple(Crop(tmp_path / f"{number}-{frame}.png", "a", f"{number}") for frame in range(length)),
        )
        for number, length in enumerate(lengths)
    )
    assert recipe_name(Dataset(tmp_path, "manifest", tracklets)) == name
    load_recipe(name)


def test_a_cpu_gets_the_recipe_as_it_is() -> None:
    assert suited(USUAL, CPU) == USUAL
    assert (USUAL.network.backbone, USUAL.network.height, USUAL.network.width) == ("mobilenet_v2", 128, 64)


@pytest.mark.parametrize(("gigabytes", "backbone"), [(8, "mobilenet_v2"), (24, "resnet50")])
def test_a_gpu_gets_a_larger_network_where_it_fits(
    monkeypatch: pytest.MonkeyPatch, gigabytes: int, backbone: str
) -> None:
    class Properties:
        total_memory = gigabytes * 2**30

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties())
    found = suited(USUAL, torch.device("cuda"))
    assert found.network.backbone == backbone
    assert found in (USUAL, for_gpu(USUAL))
    assert found.rounds == USUAL.rounds


def test_fewer_rounds_keep_the_schedules_shape() -> None:
    assert shortened(USUAL, 40) == USUAL
    short = shortened(USUAL, 12).rounds
    assert (short.count, short.cameras_from, short.decay_every) == (12, 4, 8)
    assert replace(short, count=40, cameras_from=6, decay_every=28) == USUAL.rounds
    blind = load_recipe("cluster_contrast")
    assert shortened(blind, 12).rounds.cameras_from >= 12
    # A recipe whose learning rate never falls keeps it so.
    flat = replace(USUAL, rounds=replace(USUAL.rounds, decay_every=1_000_000))
    assert shortened(flat, 12).rounds.decay_every > 12
    rounds = replace(USUAL.rounds, taught=26, teacher="f", teacher_weight=1.0)
    taught = replace(USUAL, rounds=rounds)
    assert [shortened(taught, count).rounds.taught for count in (39, 12, 6)] == [25, 8, 4]
    assert shortened(replace(USUAL, rounds=replace(rounds, taught=1)), 6).rounds.taught == 1


def test_costs_add_up() -> None:
    costs = Costs(step=2.0, crop=0.5, sample=0.1, pair=0.01)
    recipe = replace(USUAL, rounds=replace(USUAL.rounds, count=2, steps=3, most_passes=8))
    assert plan(recipe, 100).steps == (3, 3)
    # Before, between and after the rounds, all is described and clustered.
    assert costs.seconds(recipe, 100, 400) == pytest.approx(2 * 3 * 2.0 + 3 * (0.5 * 400 + 0.1 * 100 + 0.01 * 100**2))


def test_as_many_rounds_are_taken_as_fit() -> None:
    costs = Costs(step=1.0, crop=0.0, sample=0.0, pair=0.0)  # 110 seconds a round
    for minutes, rounds in ((22, 12), (40, 21), (1000, 40)):
        found = fit(USUAL, costs, 10_000, 10_000, minutes)
        assert found == shortened(USUAL, rounds)
        assert costs.seconds(found, 10_000, 10_000) <= 60 * minutes
    with pytest.raises(InputError, match=r"--minutes 21: 12 rounds, the fewest allowed, take about 22 minutes"):
        fit(USUAL, costs, 10_000, 10_000, 21)
    few = replace(USUAL, rounds=replace(USUAL.rounds, count=3))
    assert fit(few, costs, 10_000, 10_000, 6) == few  # the recipe's own
    with pytest.raises(InputError, match="3 rounds"):
        fit(few, costs, 10_000, 10_000, 1)


@pytest.mark.parametrize("training", [TrainingRecipe(batch_size=6, frames=2), TrainingRecipe(batch_size=6, frames=1)])
@pytest.mark.parametrize("clustering", ["dispersion", "dbscan"])
def test_parts_are_timed_without_a_trace(
    monkeypatch: pytest.MonkeyPatch, training: TrainingRecipe, clustering: str
) -> None:
    monkeypatch.setattr(forecast, "PATIENCE", 0.0)
    network = NetworkRecipe(SMALL, weights="none", head="batch_norm", embedding=0, dropout=0.0, height=32, width=32)
    training = replace(training, optimiser="adam", erasing=0.5, crop_scale=1.0, padding=4)
    recipe = Recipe(network=network, training=training, rounds=RoundsRecipe(3, per_cluster=2, clustering=clustering))
    before = torch.random.get_rng_state()
    for samples, crops, cameras in ((2, 2, 1), (100, 300, 3)):
        costs = time_parts(recipe, samples, crops, cameras, CPU)
        assert min(costs.step, costs.crop) > 0
        assert min(costs.sample, costs.pair) >= 0
        assert max(costs.sample, costs.pair) > 0
    assert time_parts(recipe, 20, 20, 2, CPU, processes=8).step > 0  # a share of less than one cluster a process
    assert torch.equal(torch.random.get_rng_state(), before)  # what is drawn later is as if nothing was timed


@pytest.mark.parametrize(
    ("batch", "norm_crops", "processes", "timed"),
    [
        (256, 64, 8, (32, 8)),
        (256, 64, 1, (256, 64)),
        (256, 64, 64, (32, 0)),
        (48, 24, 4, (32, 0)),
        (256, 0, 8, (32, 0)),
    ],
)
def test_a_process_is_timed_with_its_share_of_a_part(
    monkeypatch: pytest.MonkeyPatch, batch: int, norm_crops: int, processes: int, timed: tuple[int, int]
) -> None:
    network = NetworkRecipe(SMALL, weights="none", embedding=8, height=32, width=32)
    training = TrainingRecipe(batch_size=batch, norm_crops=norm_crops)
    recipe = Recipe(network=network, training=training, rounds=RoundsRecipe(3, per_cluster=16))
    seen: list[TrainingRecipe] = []

    def time_step(network: object, recipe: Recipe, device: torch.device) -> float:
        seen.append(recipe.training)
        return 1.0

    monkeypatch.setattr(forecast, "time_step", time_step)
    monkeypatch.setattr(forecast, "time_describing", lambda *_: 1.0)
    monkeypatch.setattr(forecast, "time_clustering", lambda *_, **__: (1.0, 1.0))
    time_parts(recipe, 20, 20, 2, CPU, processes)
    assert [(one.batch_size, one.norm_crops) for one in seen] == [timed]
