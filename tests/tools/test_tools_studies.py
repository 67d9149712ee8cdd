"""Each study as it is typed, on a tiny dataset."""

import json
import runpy
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from small_backbone import DIMENSION, SMALL
from tiny_model import METADATA, build_model

from reid_toolkit.config import MergingRecipe, NetworkRecipe, Recipe, RoundsRecipe, TrainingRecipe
from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.manifest import write_manifest
from reid_toolkit.errors import DatasetError, RunError
from reid_toolkit.export.int8 import target_here
from reid_toolkit.recipe_files import difference, dump_recipe, load_recipe
from reid_toolkit.reporting.study import open_study
from reid_toolkit.training.choosing import shortened
from reid_toolkit.training.network import build_backbone, load_weights
from reid_toolkit.training.rounds import train
from reid_toolkit.training.run_folder import RunFolder
from reid_toolkit.training.selection import RULES, select

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")
TOOLS = Path(__file__).parents[2] / "tools"

RECIPE = Recipe(
    network=NetworkRecipe(SMALL, weights="none", embedding=16, height=32, width=32),
    training=TrainingRecipe(frames=2, batch_size=6, first_epochs=1, later_epochs=1, first_learning_rate=0.02),
)
TINY = replace(RECIPE, merging=replace(RECIPE.merging, fraction=0.25))


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``use("plot_stages", RUN, ...)``: run a tool in this process."""

    def call(tool: str, *words: object) -> None:
        monkeypatch.syspath_prepend(TOOLS)
        monkeypatch.setattr(sys, "argv", [f"{tool}.py", *map(str, words)])
        runpy.run_path(str(TOOLS / f"{tool}.py"), run_name="__main__")

    return call


def read(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text())
    assert {"command", "date", "machine"} < set(found)
    return found


def is_picture(path: Path) -> bool:
    image = cv2.imread(str(path))
    return image is not None and min(image.shape[:2]) > 100 and image.std() > 5


def test_stages_and_clusters_of_a_run(
    use: Callable[..., None], tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(open_dataset(tiny_dataset), TINY, tmp_path / "run")
    truth = ("--identities", tiny_dataset / "identities.csv")
    outputs = ("--png", tmp_path / "out" / "a.png", "--json", tmp_path / "out" / "a.json")
    use("plot_stages", tmp_path / "run", tiny_dataset, *truth, tmp_path / "run", *outputs)
    found = read(tmp_path / "out" / "a.json")
    (run,) = found["runs"].values()  # given twice
    assert found["people"] == 3
    assert run["selected"] == RunFolder(tmp_path / "run").model()["stage"]
    assert [(row["stage"], row["clusters"]) for row in run["stages"]] == [(0, 12), (1, 9), (2, 6)]
    assert all(0 <= row[score] <= 1 for row in run["stages"] for score in ("rank-1", "mAP", "precision", "recall"))
    assert [run["stages"][0][score] for score in ("purity", "f", "samples", "violations")] == [1, 0, 12, None]
    assert run["stages"][2]["recall"] > 0
    assert "plot_stages.py" in found["command"]
    assert is_picture(tmp_path / "out" / "a.png")
    assert "rank-1" in capsys.readouterr().out

    for name, options in {"known": truth, "unknown": (), "first": ("--stage", 0)}.items():
        use("plot_clusters", tmp_path / "run", tiny_dataset, *options, "--png", tmp_path / f"{name}.png")
        assert is_picture(tmp_path / f"{name}.png")
    pictures = {(tmp_path / f"{name}.png").read_bytes() for name in ("known", "unknown", "first")}
    assert len(pictures) == 3

    with pytest.raises(SystemExit, match="error: no identities to evaluate against"):
        use("plot_stages", tmp_path / "run", tiny_dataset, *outputs)
    write_manifest(tiny_dataset, open_dataset(tiny_dataset).crops[:-1])
    with pytest.raises(SystemExit, match=r"error: .*run: was not trained on .*tiny as it is now"):
        use("plot_clusters", tmp_path / "run", tiny_dataset, "--png", tmp_path / "no.png")


def test_what_lambda_does(use: Callable[..., None], tiny_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(dump_recipe(TINY))
    words = (
        tiny_dataset, "--recipe", tmp_path / "tiny.toml", "--runs", tmp_path / "runs", "--trade-offs", 0, 5,
        "--identities", tiny_dataset / "identities.csv", "--png", tmp_path / "a.png", "--json", tmp_path / "a.json",
    )  # fmt: skip
    use("study_tradeoff", *words)
    found = read(tmp_path / "a.json")
    assert [(row["trade_off"], row["model"]) for row in found["rows"]] == [
        ("0", "last"), ("0", "selected"), ("5", "last"), ("5", "selected"),
    ]  # fmt: skip
    assert [row["stage"] for row in found["rows"][::2]] == [2, 2]
    assert found["rows"][0] != found["rows"][2] | {"trade_off": "0"}
    assert RunFolder(tmp_path / "runs" / "trade-off-5").recipe().merging.trade_off == 5
    assert is_picture(tmp_path / "a.png")
    # Once more: nothing is trained again.
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("checkpoints/*")}
    use("study_tradeoff", *words)
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("checkpoints/*")}
    assert read(tmp_path / "a.json")["rows"] == found["rows"]


def test_what_constraints_are_worth(use: Callable[..., None], tiny_dataset: Path, tmp_path: Path) -> None:
    crops = open_dataset(tiny_dataset).crops
    # Three at once.
    write_manifest(tiny_dataset, [replace(crop, time=float(crop.tracklet[-1]), recording="r") for crop in crops])
    (tmp_path / "tiny.toml").write_text(dump_recipe(TINY))
    use(
        "study_constraints", tiny_dataset, "--recipe", tmp_path / "tiny.toml", "--runs", tmp_path / "runs",
        "--identities", tiny_dataset / "identities.csv", "--png", tmp_path / "a.png", "--json", tmp_path / "a.json",
        "--seeds", 3,
    )  # fmt: skip
    rows = read(tmp_path / "a.json")["rows"]
    kept, free = ([row for row in rows if row["constraints"] is constrained] for constrained in (True, False))
    assert [row["clusters"] for row in kept] == [row["clusters"] for row in free] == [12, 9, 6]
    assert {row["violations"] for row in kept} == {0}
    assert free[0]["violations"] == 0
    assert [row["merges_forbidden"] for row in free] == [None, None, None]
    # Both begin alike, so the first stage's forecast is what the run without constraints then does.
    assert kept[0]["violations_without"] == free[1]["violations"]
    assert all(row["merges_forbidden"] >= 0 for row in kept[:2])
    assert is_picture(tmp_path / "a.png")


@pytest.mark.slow
def test_what_a_student_keeps(use: Callable[..., None], tiny_dataset: Path, tmp_path: Path) -> None:
    train(open_dataset(tiny_dataset), TINY, tmp_path / "run")
    use(
        "study_distillation", tmp_path / "run", tiny_dataset, "--identities", tiny_dataset / "identities.csv",
        "--students", SMALL, "--epochs", 1, "--max-loss", 1, "--runs", tmp_path / "students",
        "--json", tmp_path / "a.json",
    )  # fmt: skip
    rows = read(tmp_path / "a.json")["rows"]
    forms = ["float", f"int8 for {target_here()}"]
    assert [(row["model"], row["form"]) for row in rows] == [
        (name, form) for name in ("teacher", SMALL) for form in forms
    ]
    for before, after in (rows[:2], rows[2:]):
        assert after["bytes"] < before["bytes"]
        assert 0 <= after["mAP"] <= 1
        assert 0 <= after["pairs_mAP"] <= 1
        assert after["in_float"] == 0


@pytest.mark.slow
def test_a_backbone_is_exported_in_both_forms(
    use: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use(
        "check_backbones", "--backbones", SMALL, "--reference", SMALL, "--size", 64, 32, "--rounds", 2,
        "--out", tmp_path / "a.json",
    )  # fmt: skip
    (row,) = read(tmp_path / "a.json")["rows"]
    assert (row["backbone"], row["dimension"], row["float"]["batches"]) == (SMALL, DIMENSION, [1, 2, 17])
    assert row["float"]["max_difference"] < 1e-4
    assert row["int8"]["cosine"] > 0.9
    assert row["bytes"]["int8"] < row["bytes"]["float"] / 3
    assert row["weights_millions"] == pytest.approx(0.3, abs=0.1)
    assert row["ratio"]["float"] > 0.2, "the reference is the same network"
    assert f"| `{SMALL}` | {DIMENSION} |" in capsys.readouterr().out


def test_what_each_rule_is_worth(
    use: Callable[..., None], tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = tiny_dataset / "identities.csv"
    for seed in (0, 1):
        train(open_dataset(tiny_dataset), replace(TINY, seed=seed), tmp_path / f"run{seed}")
    outputs = ("--png", tmp_path / "a.png", "--json", tmp_path / "a.json")
    words = [word for seed in (0, 1) for word in ("--run", tmp_path / f"run{seed}", tiny_dataset, truth)]
    use("study_selection", *words, *outputs)
    found = read(tmp_path / "a.json")
    assert [row["rule"] for row in found["below_best"]] == list(RULES)
    for name, rows in found["runs"].items():
        assert [(row["stage"], row["clusters"]) for row in rows] == [(0, 12), (1, 9), (2, 6)]
        for rule, kept in found["picks"][name].items():
            assert kept["stage"] == select(rows, rule)
            assert kept["mAP"] == rows[kept["stage"]]["mAP"]
            assert kept["mAP below best"] == max(row["mAP"] for row in rows) - kept["mAP"] >= 0
    for row in found["below_best"]:
        values = [picks[row["rule"]]["mAP below best"] for picks in found["picks"].values()]
        assert [row[name] for name in found["picks"]] == values
        assert (row["mean"], row["worst"]) == (pytest.approx(sum(values) / 2), max(values))
    assert is_picture(tmp_path / "a.png")
    assert "across_cameras" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"error: --run .*run0: expected RUN DATASET \[IDENTITIES\]"):
        use("study_selection", "--run", tmp_path / "run0", *outputs)


def test_crops_that_were_samples_keep_their_identity(tiny_dataset: Path, tmp_path: Path) -> None:
    images = replace(TINY, training=replace(TINY.training, samples="images", frames=1))
    folder = RunFolder(tmp_path / "run")
    folder.start(images, open_dataset(tiny_dataset).fingerprint)
    with pytest.raises(RunError, match="no stage is done"):
        open_study(folder.path, tiny_dataset, None)
    folder.stage_path(0).touch()
    study = open_study(folder.path, tiny_dataset, tiny_dataset / "identities.csv")
    assert (len(study.samples), len(study.query), study.people) == (48, 12, 3)
    assert study.query is study.gallery
    assert all(
        identity == f"person{crop.tracklet[-2]}"
        for identity, crop in zip(study.identities, study.samples.crops, strict=True)
    )


def test_what_faster_variants_cost(use: Callable[..., None], tiny_dataset: Path, tmp_path: Path) -> None:
    save_file(build_backbone(SMALL)[0].state_dict(), tmp_path / "weights.safetensors")
    network = replace(TINY.network, weights=str(tmp_path / "weights.safetensors"))
    known = replace(TINY, network=network, merging=replace(TINY.merging, fraction=0.5))  # one stage
    (tmp_path / "tiny.toml").write_text(dump_recipe(known))
    use(
        "study_speedups", tiny_dataset, "--recipe", tmp_path / "tiny.toml", "--runs", tmp_path / "runs",
        "--identities", tiny_dataset / "identities.csv", "--png", tmp_path / "a.png", "--json", tmp_path / "a.json",
        "--seeds", 5,
    )  # fmt: skip
    found = read(tmp_path / "a.json")
    names = ["as-is", "bfloat16", "batch-x4-rate-x2", "batch-x4-rate-x4", "frozen-layer2"]
    assert [row["variant"] for row in found["rows"]] == [row["variant"] for row in found["means"]] == names
    for row in found["rows"]:
        _, *metrics = (tmp_path / "runs" / f"{row['variant']}-5" / "metrics.jsonl").read_text().splitlines()
        trained = sum(json.loads(line)["seconds_train"] for line in metrics)
        # All 12 samples once, by two frames each, however large the batch.
        assert (row["seed"], row["images/s"]) == (5, round(len(metrics) * 24 / trained))
    assert is_picture(tmp_path / "a.png")
    recipes = {name: RunFolder(tmp_path / "runs" / f"{name}-5").recipe() for name in names}
    assert recipes["bfloat16"].training.precision == "bfloat16"
    assert recipes["frozen-layer2"].network.frozen == "layer2"
    large = recipes["batch-x4-rate-x4"].training
    assert (large.batch_size, large.first_learning_rate) == (24, pytest.approx(0.08))


def test_nothing_is_frozen_where_there_is_nothing_to_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TOOLS)
    from study_speedups import variants

    without_stages = replace(TINY, network=replace(TINY.network, backbone="mobilenet_v3_small"))
    assert "frozen-layer2" not in variants(TINY) | variants(without_stages)


def cuhk03(root: Path, people: int, draw: Callable[[int, int], NDArray[np.uint8]]) -> Path:
    """CUHK03's layout: ``people`` in each part, two pictures ``draw(person, number)`` in each camera."""
    for part in ("train", "val"):
        (root / part).mkdir(parents=True)
        for person in range(people):
            for number in (0, 1, 5, 6):
                cv2.imwrite(str(root / part / f"{person:04d}_{number:02d}.jpg"), draw(person, number))
    return root


def noise(root: Path, people: int, height: int = 64, width: int = 32) -> Path:
    """CUHK03's layout, of pictures that no two persons can be told apart by."""
    rng = np.random.default_rng(0)
    return cuhk03(root, people, lambda person, number: rng.integers(0, 255, (height, width, 3), np.uint8))


def test_pictures_and_weights_are_packed_under_a_limit(
    use: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures, pack, name = noise(tmp_path / "labeled", 4, 300, 60), tmp_path / "pack", "mobilenet_v3_small"
    full = {f"module.{key}": value for key, value in build_backbone(name)[0].state_dict().items()}
    save_file({**full, "module.classifier.0.weight": torch.ones(2, 2)}, tmp_path / "weights.safetensors")
    words = ("--pictures", pictures, "--weights", tmp_path / "weights.safetensors", "--backbone", name, "--out", pack)
    use("pack_session", *words)
    weights = (pack / "weights.safetensors").stat().st_size / 2**20
    use("pack_session", *words, "--limit", weights + 0.13)
    _, first, _, second = capsys.readouterr().out.splitlines()
    assert "32 pictures of at most 256x128, JPEG quality 90" in first
    assert "32 pictures of at most 128x64, JPEG quality 75" in second
    apart = tmp_path / "apart"
    use("pack_session", *words[2:6], "--out", apart / "weights")
    use("pack_session", *words[:2], "--out", apart / "pictures", "--limit", 0.13)
    assert "128x64, JPEG quality 75" in capsys.readouterr().out  # the same room, as no weights take any
    assert [path.name for path in (apart / "weights").iterdir()] == ["weights.safetensors"]
    assert {path.name for path in (apart / "pictures").iterdir()} == {"train", "val"}
    pictures_taken = sum(path.stat().st_size for path in pack.rglob("*.jpg")) / 2**20
    assert 0.1 < pictures_taken < 0.13
    assert weights < sum(value.nbytes for value in full.values()) / 2**20 * 0.6
    for part in ("train", "val"):
        assert {path.name for path in (pack / part).glob("*.jpg")} == {p.name for p in (pictures / part).iterdir()}
    assert {cv2.imread(str(path)).shape for path in pack.rglob("*.jpg")} == {(128, 60, 3)}  # never enlarged
    val = open_dataset(pack / "val")
    assert (len(val.crops), len(val.cameras), {t.identity for t in val.tracklets}) == (16, 2, {"1", "2", "3", "4"})
    backbone = build_backbone(name)[0]
    load_weights(backbone, name, str(pack / "weights.safetensors"))
    for key, value in backbone.state_dict().items():
        exact = value.dim() < 2  # batch norm
        assert torch.allclose(value, full[f"module.{key}"], rtol=0 if exact else 1e-3, atol=0 if exact else 1e-6)
    with pytest.raises(SystemExit, match="32 pictures do not fit into 0"):
        use("pack_session", *words, "--limit", weights)
    full["module.features.0.0.weight"][0, 0, 0, 0] = 1e5
    save_file(full, tmp_path / "weights.safetensors")
    with pytest.raises(SystemExit, match=r"features\.0\.0\.weight: holds values that half precision cannot"):
        use("pack_session", *words)


def test_the_rows_of_table_two_on_people_held_out(
    use: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise(tmp_path, 4)
    quick = replace(TINY, training=replace(TINY.training, frames=1), merging=MergingRecipe(fraction=0.4))
    (tmp_path / "quick.toml").write_text(dump_recipe(quick))
    save_file(build_backbone(SMALL)[0].state_dict(), tmp_path / "weights.safetensors")
    words = ("--pictures", tmp_path, "--weights", tmp_path / "weights.safetensors", "--runs", tmp_path / "runs")
    small = ("--size", 32, 32, "--epochs", 1, 1, "--people", 3, "--recipes", tmp_path / "quick.toml")
    use("study_cuhk03", *words, "--json", tmp_path / "found.json", *small)
    found = read(tmp_path / "found.json")
    assert (found["training_crops"], found["held_out_crops"]) == (12, 16)
    assert [(row["row"], row["seed"]) for row in found["rows"]] == [
        ("not trained", 0), (str(tmp_path / "quick.toml"), 0),
    ]  # fmt: skip
    for row in found["rows"]:
        assert [one["ranked"] for one in row["held_out"]] == ["A to B", "B to A", "all cameras"]
        assert all(0 < one["mAP"] <= 1 for one in row["held_out"])
    assert "not trained" in capsys.readouterr().out
    assert found["rows"][0]["network"] == found["rows"][1]["recipe"]["network"]
    (tmp_path / "runs" / "quick-0" / "config.toml").unlink()  # what is in the JSON is not trained again
    use("study_cuhk03", *words, "--json", tmp_path / "found.json", *small)
    assert read(tmp_path / "found.json") == found
    with pytest.raises(SystemExit, match="2"):
        use("study_cuhk03", *words, "--json", tmp_path / "found.json", *small, "--rows", "dbc")
    assert "not allowed with argument" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="--rows 'ours': expected some of 'dbc_cameras'"):
        use("study_cuhk03", *words, "--json", tmp_path / "found.json", "--rows", "ours")
    manifest = open_dataset(tmp_path / "runs" / "train")
    assert {crop.identity for crop in manifest.crops} == {None}  # nobody is named to training
    with pytest.raises(SystemExit, match="no folder train: expected CUHK03's labeled"):
        use("study_cuhk03", "--pictures", tmp_path / "train", *words[2:], "--json", tmp_path / "no.json")


def test_crops_make_tracklets_without_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(TOOLS)
    from study_cuhk03 import without_names

    pictures = noise(tmp_path / "labeled", 5) / "train"
    found = without_names(pictures, tmp_path / "some", range(1, 4), tracklets=True)
    assert {crop.path.name[:4] for crop in found.crops} == {"0001", "0002", "0003"}
    assert (
        sorted((tracklet.camera, len(tracklet.crops)) for tracklet in found.tracklets)
        == [("A", 2)] * 3 + [("B", 2)] * 3
    )
    for tracklet in found.tracklets:
        assert len({crop.path.name[:4] for crop in tracklet.crops}) == 1
        assert not any(crop.path.name[:4] in tracklet.name for crop in tracklet.crops)
    assert {crop.identity for crop in found.crops} == {None}


def test_pictures_are_linked_wholly_or_not_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(TOOLS)
    import cuhk03 as crops
    from study_cuhk03 import without_names

    pictures, out = noise(tmp_path / "labeled", 3) / "train", tmp_path / "runs" / "train"
    with monkeypatch.context() as patch:
        patch.setattr(crops, "write_manifest", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            without_names(pictures, out)
    assert [*out.parent.iterdir()] == []
    assert [crop.identity for crop in without_names(pictures, out).crops] == [None] * 12
    crops.link_pictures(pictures, tmp_path / "named")
    with pytest.raises(DatasetError, match="named: has identities: expected none"):
        without_names(pictures, tmp_path / "named")


def test_rows_of_another_call_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(TOOLS)
    import study

    path = tmp_path / "new" / "rows.json"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: study.add_rows(path, [{"row": "a", "seed": seed}], ("row", "seed")), range(24)))
    assert {row["seed"] for row in read(path)["rows"]} == set(range(24))
    study.add_rows(path, [{"row": "a", "seed": 3, "mAP": 1.0}, {"row": "b", "seed": 3}], ("row", "seed"), crops=5)
    assert len(read(path)["rows"]) == 25
    assert read(path)["crops"] == 5
    study.print_rows([])


def test_a_public_benchmark_is_one_command(
    use: Callable[..., None], picture: Callable[..., NDArray[np.uint8]], tmp_path: Path
) -> None:
    root = tmp_path / "market"
    for part, people in (("bounding_box_train", range(3)), ("query", range(2)), ("bounding_box_test", range(3))):
        (root / part).mkdir(parents=True)
        for person in people:
            for camera in (1,) if part == "query" else (1, 2):
                name = f"{person + 1:04d}_c{camera}s1_{person:06d}_0{camera}.jpg"
                cv2.imwrite(str(root / part / name), picture(person, camera))
    words = (root, "--row", "dbc", "--runs", tmp_path / "runs", "--json", tmp_path / "found.json")
    small = ("--weights", "none", "--backbone", SMALL, "--size", 32, 32)
    use("study_benchmarks", *words, *small)
    (row,) = read(tmp_path / "found.json")["rows"]
    assert (row["row"], row["dataset"], row["seed"], row["queries"], row["gallery"]) == ("dbc", "market", 0, 2, 6)
    assert 0 < row["mAP"] <= 1
    assert row["rank-1"] <= row["rank-5"] <= row["rank-10"] == 1  # of three in the other camera
    shutil.rmtree(tmp_path / "runs")
    use("study_benchmarks", *words, *small)  # what is in the JSON is not trained again
    assert read(tmp_path / "found.json")["rows"] == [row]
    with pytest.raises(SystemExit, match="--row 'ours': expected one of 'dbc_cameras, ResNet-50'"):
        use("study_benchmarks", *words, "--row", "ours")
    with pytest.raises(SystemExit, match="no such folder"):
        use("study_benchmarks", tmp_path / "nowhere", *words[1:], "--seed", 1)


def test_every_row_on_real_people_is_a_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(TOOLS)
    from study_cuhk03 import ROWS

    found = {name: row.of(3, tmp_path / "weights.pth") for name, row in ROWS.items()}
    for name, recipe in found.items():
        assert (recipe.seed, recipe.network.weights) == (3, str(tmp_path / "weights.pth"))
        assert recipe.training.samples == ("tracklets" if ROWS[name].tracklets_of else "images")
        assert recipe.training.frames == 1
        assert recipe.training.precision == ("bfloat16" if ROWS[name].gpu else "float32")
        assert ROWS[name].gpu or (recipe.network.height, recipe.network.width) == (128, 64)
        (tmp_path / "recipe.toml").write_text(dump_recipe(recipe))
        assert load_recipe(str(tmp_path / "recipe.toml")) == recipe
        changes = difference(found["short"], recipe)
        if name == "short":  # what the fewest --minutes give
            assert recipe.rounds == shortened(load_recipe("dbc_cameras"), 12).rounds
        if name.endswith("6 rounds"):
            assert recipe.rounds == shortened(load_recipe("dbc_cameras_tracklets"), 6).rounds
        if name.startswith("short:"):
            assert 0 < len(changes) < 10  # what the row is about


def test_a_row_in_rounds_is_kept_when_the_study_goes_on(
    use: Callable[..., None], picture: Callable[..., NDArray[np.uint8]], tmp_path: Path
) -> None:
    cuhk03(tmp_path, 3, picture)  # clothes that any network tells apart, so that every round finds clusters
    quick = Recipe(
        network=NetworkRecipe(SMALL, head="batch_norm", embedding=0, dropout=0.0),
        training=TrainingRecipe(batch_size=4, optimiser="adam"),
        rounds=RoundsRecipe(count=3, per_cluster=2, smallest=2, until=0.4, learning_rate=1e-6),
    )
    (tmp_path / "quick.toml").write_text(dump_recipe(quick))
    save_file(build_backbone(SMALL)[0].state_dict(), tmp_path / "weights.safetensors")
    words = (
        "--pictures", tmp_path, "--weights", tmp_path / "weights.safetensors", "--runs", tmp_path / "runs",
        "--json", tmp_path / "found.json", "--size", 32, 32, "--rounds", 2, 1, "--recipes", tmp_path / "quick.toml",
    )  # fmt: skip
    use("study_cuhk03", *words)
    found = read(tmp_path / "found.json")
    assert [(row["row"], row.get("stages")) for row in found["rows"]] == [
        ("not trained", None),
        (str(tmp_path / "quick.toml"), 2),
    ]
    shutil.rmtree(tmp_path / "runs" / "quick-0")
    use("study_cuhk03", *words)
    assert read(tmp_path / "found.json")["rows"] == found["rows"]
    assert not (tmp_path / "runs" / "quick-0").exists()


def test_models_are_ranked_and_timed_side_by_side(use: Callable[..., None], tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the tool runs originals in it")
    cloth = np.random.default_rng(0).integers(0, 255, (12, 8, 4, 3), np.uint8)
    cuhk03(tmp_path / "labeled", 12, lambda person, number: cv2.resize(cloth[person], (32, 64)) // (1 + number % 2))
    models = []
    for name, height in (("first", 64), ("second", 32)):
        about = replace(METADATA, height=height, width=32, dimension=16)
        projection = np.random.default_rng(0).normal(size=(3 * height, 16)).astype(np.float32)
        models.append(tmp_path / f"{name}.onnx")
        onnx.save_model(build_model(projection, size=(height, 32), metadata=about.to_strings()), models[-1])
    out = tmp_path / "served.json"
    use("study_adoption", "served", *models, "--pictures", tmp_path / "labeled", "--json", out)
    rows = read(out)["rows"]
    assert [(row["model"], row["size"]) for row in rows] == [("first.onnx", "64x32"), ("second.onnx", "32x32")]
    assert rows[0]["times the first"] == 1
    for row in rows:
        assert row["crops a second"] > 0
        assert row["A-B mAP"] > 0.5, "clothes that any network tells apart"
        assert 0 < row["B-A mAP without cameras"] <= 1


def test_openvinos_descriptors_are_compared(
    use: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openvino", reason="the tool compares with it")
    onnx.save_model(build_model(), tmp_path / "tiny.onnx")
    (tmp_path / "pictures").mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 255, (7, 20, 10, 3), np.uint8)):
        cv2.imwrite(str(tmp_path / "pictures" / f"{number}.png"), pixels)
    words = ["study_openvino", tmp_path / "tiny.onnx", "--pictures", tmp_path / "pictures", "--count", 5]
    use(*words, "--json", tmp_path / "found.json")
    found = read(tmp_path / "found.json")
    assert found["crops"] == 5
    assert [row["precision"] for row in found["rows"]] == ["float32", "its own"]
    for row in found["rows"]:
        assert 0 <= row["farthest"] < (1e-5 if row["precision"] == "float32" else 0.1)
        assert row["change"] <= 2 * row["farthest"] + 1e-9, "by the triangle inequality"
        assert 0 < row["median_distance"] < 2
    assert "| mean 16x8 | float32 | float32 |" in capsys.readouterr().out
