import errno
import io
import json
import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from rich.progress import Task, TaskID
from safetensors.torch import save_file
from small_backbone import SMALL
from third_party import build, save

from reid_toolkit import files
from reid_toolkit.cli import train as command
from reid_toolkit.cli import training_bars
from reid_toolkit.config import NetworkRecipe, Recipe, RoundsRecipe, TrainingRecipe
from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.manifest import COLUMNS, write_manifest
from reid_toolkit.errors import RunError
from reid_toolkit.recipe_files import dump_recipe, load_recipe
from reid_toolkit.runtime import Embedder
from reid_toolkit.training import choosing, forecast, rounds, run_folder
from reid_toolkit.training.choosing import shortened
from reid_toolkit.training.forecast import Costs
from reid_toolkit.training.network import build_backbone
from reid_toolkit.training.progress import Step
from reid_toolkit.training.run_folder import RunFolder, load_network
from reid_toolkit.training.selection import START


@pytest.fixture
def train(reid, tiny_dataset: Path, recipe: Path, tmp_path: Path):
    """``train(...)`` on ``tiny_dataset`` into ``run``; arguments given come last, and so count."""

    def run(*arguments: object, data: Path = tiny_dataset):
        return reid("train", data, "--recipe", recipe, "--out", tmp_path / "run", *arguments)

    return run


def test_it_says_what_it_made(train, tmp_path: Path) -> None:
    result = train()
    assert (result.status, result.out) == (0, "")
    assert "run: 3 stages, 12 samples merged into 6 clusters; selected stage" in result.err
    assert "; crops read from memory" in result.err
    assert "warning: " in result.err
    assert "12 tracklets are few to learn from" in result.err
    assert "better or worse than before training: unknown, since 16 tracklets of two crops or more are" in result.err
    assert "selected stage 2" in result.err  # random weights knew nothing that could be lost
    assert (tmp_path / "run" / "best.safetensors").exists()


def test_of_few_tracklets_the_network_before_training_is_kept(reid, train, tmp_path: Path) -> None:
    save_file(build_backbone(SMALL)[0].state_dict(), tmp_path / "known.safetensors")
    result = train("--weights", tmp_path / "known.safetensors")
    assert result.status == 0
    assert "12 tracklets are few to learn from: with less than 80 it cannot be told whether" in result.err
    assert "and there are 12; the network before training is kept" in result.err
    run = RunFolder(tmp_path / "run")
    model = run.model()
    assert (model["stage"], model["selection"], model["verdict"]["start_kept"]) == (START, "verdict", True)
    best, start, last = (load_network(run, stage).state_dict() for stage in ("best", "initial", "last"))
    assert all(torch.equal(best[name], start[name]) for name in best)
    assert any(not torch.equal(best[name], last[name]) for name in best)  # and what was trained can be had
    report = reid("report", tmp_path / "run")
    assert report.status == 0, report.err
    page = (tmp_path / "run" / "report.html").read_text()
    assert "comparison without labels" in page
    assert "the network before training is kept" in page
    assert "before training</td>" in page


def test_json_is_all_there_is_on_stdout(train, tmp_path: Path) -> None:
    report = train("--seed", 4, "--json").json
    assert [row["clusters"] for row in report["stages"]] == [12, 9, 6]
    assert {row["crops"] for row in report["stages"]} == {"memory"}
    assert report["selected"] == json.loads((tmp_path / "run" / "model.json").read_text())
    assert "seed = 4" in (tmp_path / "run" / "config.toml").read_text()


def test_backbone_and_size_stand_for_the_recipes(train, tmp_path: Path) -> None:
    assert train("--backbone", "shufflenet_v2_x0_5", "--size", "64x32").status == 0
    network = load_recipe(str(tmp_path / "run" / "config.toml")).network
    assert (network.backbone, network.height, network.width) == ("shufflenet_v2_x0_5", 64, 32)


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Recipe:
    """What `reid train` takes without --recipe, small enough for a test."""
    monkeypatch.setattr(forecast, "PATIENCE", 0.0)
    recipe = Recipe(
        network=NetworkRecipe(SMALL, weights="none", head="batch_norm", embedding=0, dropout=0.0, height=32, width=32),
        training=TrainingRecipe(frames=2, batch_size=6, optimiser="adam"),
        rounds=RoundsRecipe(3, steps=2, per_cluster=2, smallest=2, until=0.4, until_before_cameras=0.4),
    )
    (tmp_path / "chosen.toml").write_text(dump_recipe(recipe))
    monkeypatch.setattr(choosing, "recipe_name", lambda dataset: str(tmp_path / "chosen.toml"))
    return recipe


def test_without_a_recipe_it_says_what_it_will_do(reid, chosen: Recipe, tiny_dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = reid("train", tiny_dataset, "--out", run, "--seed", 5, "--size", "48x32")
    assert result.status == 0, result.err
    assert "12 tracklets of 2 cameras, 48 crops; recipe " in result.err
    assert "chosen.toml; resnet_small at 48x32, 3 rounds of 2 training steps on " in result.err
    assert "takes about a minute, estimated from a few steps timed here" in result.err
    found = load_recipe(str(run / "config.toml"))
    assert found == replace(chosen, seed=5, network=replace(chosen.network, height=48))
    assert "warning: " in result.err  # that there is little to learn from, before the work
    assert result.err.index("few to learn from") < result.err.index("3 rounds of")
    assert "one camera" not in result.err

    # The run goes on by its own recipe, whatever would be chosen now, and nothing is timed.
    result = reid("train", tiny_dataset, "--out", run, "--resume")
    assert (result.status, "timed here" in result.err) == (0, False)
    assert load_recipe(str(run / "config.toml")) == found
    assert (
        "cannot resume with another recipe: seed: 5 is now 6"
        in reid("train", tiny_dataset, "--out", run, "--resume", "--seed", 6).error
    )
    assert "--minutes: " in (said := reid("train", tiny_dataset, "--out", run, "--resume", "--minutes", 5).error)
    assert "goes on with the rounds that it began with" in said
    result = reid("train", tiny_dataset, "--out", run)
    assert "holds a run already: give --resume" in result.error
    assert "timed here" not in result.err


def test_a_teacher_gives_two_thirds_of_the_rounds(reid, chosen: Recipe, tiny_dataset: Path, tmp_path: Path) -> None:
    teacher, run = tmp_path / "teacher.onnx", tmp_path / "run"
    adopted = reid("adopt", save(build(), tmp_path / "m.onnx"), "--out", teacher, "--preset", "half")
    assert adopted.status == 0, adopted.err
    result = reid("train", tiny_dataset, "--out", run, "--teacher", teacher)
    assert result.status == 0, result.err
    rounds = load_recipe(str(run / "config.toml")).rounds
    assert (rounds.count, rounds.taught, rounds.teacher) == (3, 2, Embedder(teacher).fingerprint)
    alone = reid("train", tiny_dataset, "--out", run, "--resume")
    assert "name its model with --teacher" in alone.error
    assert reid("train", tiny_dataset, "--out", run, "--resume", "--teacher", teacher).status == 0
    stages = reid("train", tiny_dataset, "--out", tmp_path / "x", "--recipe", "dbc", "--teacher", teacher)
    assert "--teacher: the recipe has stages" in stages.error


def test_minutes_choose_the_rounds(
    reid, train, chosen: Recipe, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = Costs(step=60.0, crop=0.0, sample=0.0, pair=0.0)
    monkeypatch.setattr(choosing, "time_parts", lambda *given, **named: costs)
    long = replace(chosen, rounds=replace(chosen.rounds, count=40, cameras_from=6))
    (tmp_path / "long.toml").write_text(dump_recipe(long))
    assert (
        "--minutes 5: 12 rounds, the fewest allowed, take about 24 minutes here"
        in reid(
            "train", tiny_dataset, "--out", tmp_path / "run", "--recipe", tmp_path / "long.toml", "--minutes", 5
        ).error
    )
    assert not (tmp_path / "run").exists()
    said = reid(
        "train", tiny_dataset, "--out", tmp_path / "run", "--recipe", tmp_path / "long.toml", "--minutes", 30
    ).err
    assert "15 rounds of 2 training steps" in said
    assert "takes about 30 minutes, estimated from a few steps timed here" in said
    assert load_recipe(str(tmp_path / "run" / "config.toml")) == shortened(long, 15)
    assert "--minutes: the recipe has stages, not rounds" in train("--minutes", 5, "--out", tmp_path / "other").error
    for wrong in (0, -1, "nan", "inf"):
        assert train("--minutes", wrong).status == 2


def test_what_cannot_begin_is_refused_before_anything_is_timed(
    reid, chosen: Recipe, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "time_parts", lambda *given, **named: pytest.fail("timed"))
    lost = reid("train", tiny_dataset, "--out", tmp_path / "run", "--weights", tmp_path / "lost.pth")
    assert "lost.pth: no such file" in lost.error
    write_manifest(tiny_dataset, open_dataset(tiny_dataset).tracklets[0].crops)
    assert "1 sample: expected at least 2" in reid("train", tiny_dataset, "--out", tmp_path / "run").error
    assert not (tmp_path / "run").exists()


def test_one_camera_is_said_before_the_work(reid, chosen: Recipe, tiny_dataset: Path, tmp_path: Path) -> None:
    alone = [crop for crop in open_dataset(tiny_dataset).crops if crop.camera == "north"]
    write_manifest(tiny_dataset, alone)
    said = reid("train", tiny_dataset, "--out", tmp_path / "run").err
    assert "one camera: the network cannot learn how a person looks in another camera" in said
    assert "6 tracklets of 1 camera, 24 crops" in said


def test_the_bar_tells_stages_and_time_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=120)
    monkeypatch.setattr(command, "log", screen)
    monkeypatch.setattr(training_bars.time, "monotonic", lambda: 100.0)
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(training_bars.Progress, "update", lambda self, task, **fields: shown.append(fields))
    with training_bars.training_bars("round") as (_, on_phase, on_step):
        on_phase("extract")
        on_step(Step(0, 4, 12, 1.5, 1, 8))
        on_step(Step(3, 4, 17, 0.25, 7, 8, seconds_left=3725.0))
        on_phase("merge")
    # Numbers as in metrics.jsonl and "selected round 3".
    assert [fields["state"] for fields in shown] == [
        "describes all crops", "round 0/3 · learns 12 clusters · loss 1.500",
        "round 3/3 · learns 17 clusters · loss 0.250", "round 3/3 · clusters", "round 3/3 · done",
    ]  # fmt: skip
    assert [fields["ends"] for fields in shown if "ends" in fields] == [None, 3825.0, 100.0]
    task = Task(TaskID(0), "train", 8, 7, lambda: 0.0, fields={"ends": 3825.0})
    assert str(training_bars.TimeLeft().render(task)) == "1:02:05"
    task.fields["ends"] = 99.0
    assert str(training_bars.TimeLeft().render(task)) == "0:00:00"


def test_a_backbone_or_size_that_is_none_is_named(train) -> None:
    assert (
        "network.backbone is 'resnet' (did you mean 'resnet50'?): expected one of resnet18, "
        in train("--backbone", "resnet").error
    )
    for size in ("64", "64x", "ax32", "-64x32"):
        assert (result := train("--size", size)).status == 2
        assert f"{size!r} is not a height and a width in pixels, e.g. 128x64" in result.err
    assert "network input is 8x4: expected at least 32x32" in train("--size", "8x4").error


def test_skip_bad_counts_what_it_leaves_out(train, tiny_dataset: Path) -> None:
    bad = tiny_dataset / "crops" / "north-00-0.png"
    bad.write_bytes(b"")
    assert "an empty file" in (error := train().error)
    assert "manifest.csv, row 2" in error
    assert "--skip-bad leaves such crops out" in error
    bad.write_text("text named .png")
    assert "bytes that no decoder knows" in train().error
    result = train("--skip-bad")
    assert result.status == 0
    assert "warning: 1 unreadable images were left out; the first:" in result.err


def test_bad_datasets_are_one_line(train, tmp_path: Path, tiny_dataset: Path) -> None:
    assert "no such folder" in train(data=tmp_path / "gone").error
    empty = tmp_path / "an empty [folder] – ü"
    empty.mkdir()
    assert f"{empty}: neither a manifest.csv nor any image" in train(data=empty).error
    (empty / "one.png").write_bytes(next((tiny_dataset / "crops").iterdir()).read_bytes())
    assert "1 sample: expected at least 2" in train(data=empty).error
    manifest = tiny_dataset / "manifest.csv"
    good = manifest.read_text()
    for content, words in (
        (good.replace("camera", "kamera", 1), "wrong columns ('kamera')"),
        (good.replace("crops/", "../crops/", 1), "row 2: path '../crops/north-00-0.png' leads out"),
        (good.replace("north-00-0.png", "gone.png", 1), "row 2: 'crops/gone.png': no such file"),
        (",".join(COLUMNS) + "\n", "no crops"),
        ("", "wrong columns"),
    ):
        manifest.write_text(content)
        assert words in train().error
    assert not (tmp_path / "run").exists()


def test_bad_recipes_are_one_line(train, tmp_path: Path) -> None:
    path = tmp_path / "my recipe.toml"
    assert "neither a shipped recipe (buc," in train("--recipe", "dbk").error
    assert "neither a shipped recipe" in train("--recipe", tmp_path).error
    for content, words in (
        ("seed = ", "not TOML"),
        ("sead = 1", "unknown setting sead"),
        ("seed = -1", "seed is -1"),
        ("[training]\nbatch_size = 1", "batch normalisation needs at least 2"),
        ('[network]\nbackbone = "vgg99"', "network.backbone is 'vgg99'"),
        ('[network]\nweights = "gone.pth"', "weights gone.pth: no such file"),
    ):
        path.write_text(content)
        assert words in train("--recipe", path).error
    assert "seed is 99999999999999999999" in train("--seed", 99999999999999999999).error
    assert "expected cpu, cuda" in train("--device", "tpu").error
    assert not (tmp_path / "run").exists()


def test_bad_weights_are_one_line(train, tmp_path: Path) -> None:
    text = tmp_path / "weights.pth"
    assert "no such file" in train("--weights", text).error
    text.write_text("text")
    assert "not what torch.save writes, nor safetensors" in train("--weights", text).error
    torch.save({"conv1.weight": torch.zeros(1)}, text)
    assert f"do not fit {SMALL}" in train("--weights", text).error
    assert not (tmp_path / "run").exists()


def test_outs_that_cannot_be_written_are_named(train, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert train("--out", tmp_path / "file").status == 2
    assert "Not a directory" in train("--out", tmp_path / "file" / "run").error


def test_a_run_is_not_written_over(train, tmp_path: Path) -> None:
    assert train().status == 0
    best = (tmp_path / "run" / "best.safetensors").read_bytes()
    assert "holds a run already: give --resume" in train().error
    assert "cannot resume with another recipe: seed: 0 is now 1" in train("--resume", "--seed", 1).error
    assert train("--resume").status == 0
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == best


def test_a_full_disk_is_one_line_and_resume_completes(train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace, written = os.replace, []

    def full(source: Path, target: Path) -> None:
        if Path(target).name == "stage-001.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        written.append(Path(target).name)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", full)
        assert "stage-001.safetensors: no space left on the disk" in train().error
    assert "stage-000.safetensors" in written
    assert not list((tmp_path / "run").rglob("*.partial*"))
    assert len(train("--resume", "--json").json["stages"]) == 3


def test_ctrl_c_is_status_130_and_resume_completes(train, monkeypatch: pytest.MonkeyPatch) -> None:
    describe, stages = run_folder.describe, []

    def interrupted(*arguments: Any) -> dict[str, Any]:
        stages.append(1)
        if len(stages) == 2:
            raise KeyboardInterrupt
        return describe(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "describe", interrupted)
        result = train()
    assert (result.status, result.out) == (130, "")
    assert "run the same command again" in result.err
    assert len(train("--resume", "--json").json["stages"]) == 3


def test_deterministic_reaches_training(train, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(rounds, "training_on", lambda *_, deterministic: seen.append(deterministic) or nullcontext())
    train("--deterministic")
    assert seen == [True]


@pytest.mark.parametrize("options", [[], ["--deterministic"]])
def test_deterministic_reaches_the_timing_before_training(
    reid, chosen: Recipe, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """torch reads the setting that cuBLAS needs when a GPU is first used, which is here."""
    seen = []

    def entered(*given: object, deterministic: bool = False) -> None:
        seen.append(deterministic)
        raise RunError("seen")

    monkeypatch.setattr(forecast, "training_on", entered)
    assert "seen" in reid("train", tiny_dataset, "--out", tmp_path / "run", *options).error
    assert seen == [bool(options)]


def test_other_processes_get_the_options_that_were_typed(
    reid, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reid_toolkit.training import launch

    typed = [
        str(tiny_dataset), "--out", str(tmp_path / "run"), "--seed", "0", "--size", "64x32", "--minutes", "2.5",
        "--device", "cpu", "--resume",
    ]  # fmt: skip
    started: list[list[str]] = []
    monkeypatch.setattr(launch, "launch", lambda count, words: started.append([str(count), *words]))
    assert reid("train", *typed, "--gpus", 2).status == 0
    ((count, name, *words),) = started
    assert (count, name) == ("2", "train")
    assert "--gpus" not in words
    told, meant = (command.command.make_context("train", list(line)).params for line in (words, typed))
    assert told == meant
