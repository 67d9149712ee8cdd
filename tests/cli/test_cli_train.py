import errno
import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from small_backbone import SMALL

from reid_toolkit import files
from reid_toolkit.config import load_recipe
from reid_toolkit.datasets.manifest import COLUMNS
from reid_toolkit.training import rounds, run_folder


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
    assert "better or worse than before training: unknown, since only 12 tracklets" in result.err
    assert (tmp_path / "run" / "best.safetensors").exists()


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


def test_a_backbone_or_size_that_is_none_is_named(train) -> None:
    assert "network.backbone is 'resnet': expected one of resnet18, " in train("--backbone", "resnet").error
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
    assert "warning: 1 unreadable images were left out, the first:" in result.err


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
    assert "damaged, or more than plain tensors" in train("--weights", text).error
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
