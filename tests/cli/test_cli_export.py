import errno
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from reid_toolkit import files
from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.dataset import spread_over_cameras
from reid_toolkit.datasets.manifest import read_manifest
from reid_toolkit.export import pipeline
from reid_toolkit.export.int8 import target_here
from reid_toolkit.export.saving import save_model
from reid_toolkit.images import Image
from reid_toolkit.runtime import Embedder


def test_bad_input_is_one_line_and_writes_nothing(walked, reid, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"

    def error(run: Path, *arguments: object, data: Path = walked.dataset) -> str:
        return reid("export", run, "--out", out, "--dataset", data, *arguments).error

    assert "not a training run" in error(tmp_path / "gone")
    assert "not a training run" in error(walked.dataset)
    assert "no stage '99': expected best, initial, last or one of 0-" in error(walked.run, "--stage", "99")
    assert "no such folder" in error(walked.run, data=tmp_path / "gone")
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "a.jpg").write_text("text")
    assert "expected at least one readable crop" in error(walked.run, data=bad)
    assert not out.exists()


def test_what_is_read_is_not_overwritten(reid, tmp_path: Path) -> None:
    model, config = tmp_path / "model.onnx", tmp_path / "run" / "config.toml"
    config.parent.mkdir()
    for path in (model, config):
        path.write_bytes(b"what is read")
    (tmp_path / "link.onnx").symlink_to(model)
    for out in (model, tmp_path / "run" / ".." / "model.onnx", tmp_path / "link.onnx"):
        said = reid("export", model, "--int8", "--dataset", tmp_path, "--out", out).error
        assert f"--out {out}: is the model that is read" in said
    said = reid("export", tmp_path / "run", "--dataset", tmp_path, "--out", config).error
    assert f"--out {config}: expected the name of an .onnx file" in said
    assert model.read_bytes() == config.read_bytes() == b"what is read"
    assert (tmp_path / "link.onnx").is_symlink()


def test_damaged_runs_are_named(walked, reid, tmp_path: Path) -> None:
    run = tmp_path / "run [2]"
    shutil.copytree(walked.run, run)

    def error() -> str:
        return reid("export", run, "--out", tmp_path / "model.onnx", "--dataset", walked.dataset).error

    best = run / "best.safetensors"
    best.write_bytes(best.read_bytes()[:5000])
    assert "run [2]/best.safetensors: damaged checkpoint" in error()
    best.unlink()
    assert "best.safetensors: no such checkpoint" in error()
    shutil.copy(run / "checkpoints" / "initial.safetensors", best)
    config = run / "config.toml"
    config.write_text(config.read_text().replace("embedding = 16", "embedding = 17"))
    assert "does not fit the run's config.toml" in error()
    config.unlink()
    assert "config.toml is missing" in error()
    (run / "run.json").write_text("{")
    assert "run.json is missing or damaged" in error()


def test_wrong_usage(walked, reid, tmp_path: Path) -> None:
    assert reid("export", walked.run, "--out", tmp_path, "--dataset", walked.dataset).status == 2
    assert reid("export", walked.run, "--dataset", walked.dataset).status == 2


def test_a_full_disk_keeps_the_model_that_was_there(
    walked, reid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "ein Modell [ü].onnx"
    out.write_bytes(b"the model of yesterday")
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        result = reid("export", walked.run, "--out", out, "--dataset", walked.dataset, "--stage", "initial")
    assert "no space left on the disk" in result.error
    assert list(tmp_path.iterdir()) == [out]
    assert out.read_bytes() == b"the model of yesterday"


def test_int8_is_never_measured_on_the_crops_that_set_its_ranges(
    walked, reid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: dict[str, list[bytes]] = {}

    def quantize(model: Path, out: Path, ranges: list, held_out: list, **_: object) -> None:
        met.update(ranges=[image.tobytes() for image in ranges], held_out=[image.tobytes() for image in held_out])
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "quantize", quantize)
    crops = len(read_manifest(walked.dataset).crops)
    assert crops <= 128, "too few to take 128 for the ranges"
    reid("export", walked.run, "--out", tmp_path / "small.onnx", "--int8", "--dataset", walked.dataset)
    assert len(met["ranges"]) == 3 * crops // 4
    assert len(met["held_out"]) == min(64, crops - len(met["ranges"]))
    assert not set(met["ranges"]) & set(met["held_out"])
    one = tmp_path / "one"
    one.mkdir()
    (one / "a.jpg").write_bytes(read_manifest(walked.dataset).crops[0].path.read_bytes())
    said = reid("export", walked.run, "--out", tmp_path / "small.onnx", "--int8", "--int8-dataset", one).error
    assert "expected at least one to take ranges from and another one to measure on" in said


def test_the_crops_that_can_be_read_are_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken pictures between them move the others, but never into both parts."""
    met: dict[str, set[bytes]] = {}

    def quantize(model: Path, out: Path, ranges: list[Image], held_out: list[Image], **_: object) -> None:
        assert len(ranges) + len(held_out) == 40
        met.update(ranges={one.tobytes() for one in ranges}, held_out={one.tobytes() for one in held_out})
        raise KeyboardInterrupt

    folder = tmp_path / "pictures"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(60):
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), generator.integers(0, 256, (32, 16, 3), np.uint8))
        if number % 3 == 0:
            path.write_bytes(b"broken")
    monkeypatch.setattr(pipeline, "quantize", quantize)
    bad: list[str] = []
    crops = spread_over_cameras(open_dataset(folder).crops)
    with pytest.raises(KeyboardInterrupt):
        pipeline.export_int8(tmp_path / "m", tmp_path / "o", folder, crops, pipeline.Int8(), None, bad, None)
    assert (len(met["ranges"]), len(met["held_out"]), len(bad)) == (30, 10, 20)
    assert not met["ranges"] & met["held_out"]


def test_what_int8_refuses_is_said_before_the_work(walked, reid, tmp_path: Path, monkeypatch) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr(pipeline, "export", work)
    monkeypatch.setattr(pipeline, "evaluate_parts", work)
    options = ("--out", tmp_path / "o.onnx", "--dataset", walked.dataset, "--int8", "--evaluate")
    options += ("--identities", walked.identities)
    said = reid("export", walked.run, *options, "--target", "z80").error
    assert "no INT8 target 'z80': expected one of x86, x86-avx2, arm" in said
    (tmp_path / "empty").mkdir()
    said = reid("export", walked.run, *options, "--int8-dataset", tmp_path / "empty").error
    assert "empty: " in said
    about = replace(Embedder(walked.model).metadata, precision="int8 for arm")
    save_model(onnx.load(walked.model), about, tmp_path / "small.onnx")
    said = reid("export", tmp_path / "small.onnx", *options).error
    assert "is in int8 for arm already: expected a float file" in said


def test_int8_says_what_it_cost(walked, reid, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    found = reid(
        "export", walked.run, "--out", out, "--int8", "--int8-dataset", walked.dataset, "--max-loss", 2, "--evaluate",
        "--identities", walked.identities, "--json",
    ).json  # fmt: skip
    assert found["bytes"] == out.stat().st_size == found["int8"]["bytes"] < found["int8"]["float_bytes"] / 2
    assert found["max_difference"] < 1e-4
    assert found["torch"]["mAP"] == pytest.approx(found["onnx"]["mAP"], abs=0.01)
    assert found["int8"]["loss"] == pytest.approx(found["onnx"]["mAP"] - found["int8"]["mAP"])
    assert found["int8"]["in_float"] == []
    assert found["int8"]["target"] == target_here()
    assert Embedder(out).metadata.precision == f"int8 for {target_here()}"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--max-loss", 0.1), "go with --int8"),
        (("--target", "arm"), "go with --int8"),
        (("--identities", "who.csv"), "--identities goes with --evaluate"),
        (("--int8", "--max-loss", -1), "--max-loss"),
    ],
)
def test_options_that_contradict_each_other(walked, reid, tmp_path: Path, words, said: str) -> None:
    found = reid("export", walked.run, "--out", tmp_path / "a.onnx", "--dataset", walked.dataset, *words)
    assert found.status == 2
    assert said in found.err


def test_identities_are_asked_for_before_the_work(walked, reid, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    found = reid("export", walked.run, "--out", out, "--dataset", walked.dataset, "--evaluate")
    assert "no identities to evaluate against" in found.error
    assert not out.exists()


def test_unreadable_crops_are_counted(walked, reid, tmp_path: Path) -> None:
    people = tmp_path / "people"
    shutil.copytree(walked.dataset, people)
    for crop in people.rglob("*.jpg"):
        if crop.stat().st_size % 2:
            crop.write_bytes(b"")
    out = tmp_path / "model.onnx"
    found = reid("export", walked.run, "--out", out, "--dataset", people, "--stage", "initial")
    assert found.status == 0
    assert "unreadable images were left out; the first" in found.err
    assert out.exists()


def test_the_old_name_of_int8_dataset_still_works_and_says_so(walked, reid, tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.mkdir()
    (one / "a.jpg").write_bytes(read_manifest(walked.dataset).crops[0].path.read_bytes())
    found = reid("export", walked.run, "--out", tmp_path / "small.onnx", "--int8", "--calibrate", one)
    assert "--calibrate is now called --int8-dataset" in found.err
    assert "expected at least one to take ranges from" in found.err
