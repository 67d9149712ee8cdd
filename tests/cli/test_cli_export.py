import errno
import shutil
from pathlib import Path

import pytest

from reid_toolkit import files


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
