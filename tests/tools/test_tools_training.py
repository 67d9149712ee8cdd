"""The training benchmark in miniature, and what it extrapolates."""

import json
import runpy
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from reid_toolkit.datasets import open_dataset
from reid_toolkit.method.lookup_table import LookupTable
from reid_toolkit.training.schedule import plan

TOOLS = Path(__file__).parents[2] / "tools"
OPTIONS: dict[str, Any] = {"backbone": "mobilenet_v3_small", "height": 32, "width": 32, "epochs": 1}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(TOOLS)
    import bench_training

    return bench_training


def test_rows_side_by_side(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--images", 40, "--height", 32, "--width", 32, "--backbone", "mobilenet_v3_small", "--device", "cpu"]
    rows = ["--rows", "plain", "dbc", "--seconds", 0.5, "--out", tmp_path / "a.json"]
    monkeypatch.setattr(sys, "argv", ["bench_training.py", *map(str, [*words, *rows])])
    with pytest.raises(SystemExit) as left:
        bench.main()  # which starts a process for each row
    assert not left.value.code
    found = json.loads((tmp_path / "a.json").read_text())
    assert {"command", "date", "machine", "images"} < set(found)
    plain, dbc = found["rows"]
    assert plain["ratio_images_per_second"] == plain["ratio_seconds"] == 1
    assert plain["seconds"] == pytest.approx(sum(plain["phases"].values()))
    assert dbc["ratio_images_per_second"] == pytest.approx(dbc["images_per_second"] / plain["images_per_second"])
    assert dbc["measured_stages"] >= 2  # however fast the machine is
    assert sum(dbc["shares"].values()) == pytest.approx(1)
    assert 0 < dbc["utilisation"] < 1
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_row_that_takes_too_long_is_given_up(bench: ModuleType, tmp_path: Path) -> None:
    options = Namespace(**OPTIONS, device="cpu", seconds=1, timeout=0.01)
    row = bench.in_a_process("dbc", str(tmp_path), options)
    assert row == {"row": "dbc", "failed": "more than 0.01 s"}
    bench.compare([row])
    assert bench.line(row).endswith("failed: more than 0.01 s")


def test_a_set_has_the_layout_and_the_identities_it_promises(bench: ModuleType, tmp_path: Path) -> None:
    bench.draw_set(tmp_path, 40)
    dataset = open_dataset(tmp_path)
    assert (dataset.layout, len(dataset.crops), len(dataset.cameras)) == ("market1501", 40, 6)
    assert len({tracklet.identity for tracklet in dataset.tracklets}) == 3
    content = [crop.path.read_bytes() for crop in dataset.crops]
    assert len(set(content)) == 40
    bench.draw_set(tmp_path / "again", 40)
    assert [crop.path.read_bytes() for crop in open_dataset(tmp_path / "again").crops] == content


def test_time_in_steps_grows_with_epochs_and_stages_not_reached_are_as_the_last(bench: ModuleType) -> None:
    recipe = bench.recipe_of("dbc", OPTIONS)
    schedule = plan(recipe, 100)
    assert schedule.steps == (120, *[12] * 18)
    phases = {"load": 5, "train": 6, "extract": 2, "measure": 1, "merge": 3, "save": 1}
    rows = [{"stage": stage, **{f"seconds_{key}": value for key, value in phases.items()}} for stage in range(2)]
    rows[1]["seconds_train"] = 9
    found = bench.extrapolate(recipe, 100, rows, OPTIONS)
    # One epoch a stage was measured: of 20, and of 2.
    assert found["phases"] == {
        "load": 5, "train": 6 * 20 + 18 * 9 * 2, "extract": 19 * 2, "measure": 19, "merge": 19 * 3, "save": 19,
    }  # fmt: skip
    assert found["seconds"] == sum(found["phases"].values())
    assert found["images_per_second"] == 2 * 6 * 16 / 15
    assert found["measured_share_of_steps"] == 12 / sum(schedule.steps)
    whole = bench.extrapolate(recipe, 100, [{**rows[0], "stage": s} for s in range(19)], OPTIONS | {"epochs": 20})
    assert whole["measured_share_of_steps"] == 1
    assert whole["phases"]["train"] == 19 * 6


def test_a_row_is_a_recipe_and_perhaps_a_precision(bench: ModuleType) -> None:
    plain, half = (bench.recipe_of(row, OPTIONS) for row in ("dbc_video", "dbc_video+bfloat16"))
    assert (plain.training.precision, half.training.precision) == ("float32", "bfloat16")
    assert plain.network.frozen == "none"  # the backbone here is no ResNet
    assert bench.recipe_of("dbc_video", OPTIONS | {"backbone": "resnet18"}).network.frozen == "layer2"
    assert (plain.network.weights, plain.training.batch_size) == ("none", 16)


def test_twice_the_images_are_twice_the_products(bench: ModuleType) -> None:
    small, large = (
        bench.utilisation(bench.recipe_of("dbc", OPTIONS | {"width": width}), torch.device("cpu")) for width in (32, 64)
    )
    assert 1.7 < large["flops_per_image"] / small["flops_per_image"] < 2.05
    assert small["peak_precision"] == "float32"


def test_the_plain_way_moves_the_table_as_ours_does(bench: ModuleType) -> None:
    from plain_training import Table

    generator = torch.Generator().manual_seed(0)
    rows, features = (torch.nn.functional.normalize(torch.randn(n, 4, generator=generator)) for n in (5, 3))
    classes = torch.tensor([2, 0, 2])
    ours = LookupTable(rows)
    ours.update(features, classes)
    features.requires_grad_()
    products = Table.apply(features, classes, rows)
    weights = torch.randn(3, 5, generator=generator)
    expected = weights @ rows
    (products * weights).sum().backward()
    torch.testing.assert_close(rows, ours.rows)
    torch.testing.assert_close(features.grad, expected)


def test_quick_steps_are_timed_for_as_long_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TOOLS)
    import bench_step

    seen: list[tuple[float, int, int]] = []

    def timed(*_: Any) -> float:
        seen.append((bench_step.forecast.PATIENCE, bench_step.forecast.MOST_CALLS, bench_step.forecast.STEPS))
        return 1.0

    monkeypatch.setattr(bench_step.forecast, "time_step", timed)
    bench_step.measure("demo_rounds", "given back", 10.0)
    ((seconds, calls, drawn),) = seen
    assert seconds == 10
    assert drawn > calls >= 2000


def test_kept_memory_stands_beside_memory_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "step.json"
    words = ["bench_step.py", "--recipes", "demo_rounds", "--threads", "1", "--repeats", "1", "--seconds", "0"]
    monkeypatch.setattr(sys, "argv", [str(TOOLS / words[0]), *words[1:], "--json", str(out)])
    monkeypatch.syspath_prepend(TOOLS)
    runpy.run_path(str(TOOLS / words[0]), run_name="__main__")
    found = json.loads(out.read_text())
    (row,) = found["rows"]
    kept, given_back = (row[way]["crops_per_second"][0] for way in ("kept", "given back"))
    assert row["times_as_fast"] == pytest.approx(kept / given_back, abs=0.01)
    assert row["threads"] == 1
    assert json.loads(capsys.readouterr().out) == row
