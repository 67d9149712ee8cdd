from pathlib import Path

import pytest
from small_backbone import DIMENSION, SMALL

from reid_toolkit.runtime import Embedder

OPTIONS = ("--student", SMALL, "--weights", "none", "--epochs", 2, "--device", "cpu")


def test_the_student_is_a_run_that_can_be_exported(walked, reid, tmp_path: Path) -> None:
    out, model = tmp_path / "small", tmp_path / "small.onnx"
    first = reid("distill", walked.run, *OPTIONS, "--dataset", walked.dataset, "--out", out, "--json").json
    assert [row["epoch"] for row in first["epochs"]] == [0, 1]
    again = reid("distill", walked.run, *OPTIONS, "--dataset", walked.dataset, "--out", out, "--resume")
    assert again.status == 0
    assert f"{SMALL} after 2 epochs: mean cosine to the teacher" in again.err
    assert reid("export", out, "--dataset", walked.dataset, "--out", model).status == 0
    about = Embedder(model)
    assert (about.metadata.backbone, about.dimension) == (SMALL, DIMENSION)


def test_a_models_file_teaches_too(walked, reid, tmp_path: Path) -> None:
    out, model, small = tmp_path / "small", tmp_path / "large.onnx", tmp_path / "small.onnx"
    assert reid("export", walked.run, "--dataset", walked.dataset, "--out", model).status == 0
    found = reid("distill", model, *OPTIONS, "--size", "48x32", "--dataset", walked.dataset, "--out", out)
    assert found.status == 0
    assert "mean cosine to the teacher" in found.err
    assert reid("export", out, "--dataset", walked.dataset, "--out", small).status == 0
    about = Embedder(small).metadata
    assert (about.height, about.width) == (48, 32)
    assert reid("distill", model, *OPTIONS, "--stage", 1, "--dataset", walked.dataset, "--out", out).status == 2


def test_bad_input_is_one_line_and_writes_nothing(walked, reid, tmp_path: Path) -> None:
    out = tmp_path / "small"

    def error(run: Path, *more: object, data: Path = walked.dataset) -> str:
        return reid("distill", run, "--dataset", data, "--out", out, *OPTIONS, *more).error

    assert "not a training run" in error(tmp_path / "gone")
    assert "no such file" in error(tmp_path / "gone.onnx")
    (tmp_path / "text.onnx").write_text("not a model")
    assert "text.onnx" in error(tmp_path / "text.onnx")
    assert "no such folder" in error(walked.run, data=tmp_path / "gone")
    assert "network input is 16x16: expected at least 32x32" in error(walked.run, "--size", "16x16")
    assert "no stage '99'" in error(walked.run, "--stage", 99)
    assert "network.backbone is 'vgg'" in error(walked.run, "--student", "vgg")
    assert "weights nowhere.pth: no such file" in error(walked.run, "--weights", "nowhere.pth")
    assert "device 'abacus'" in error(walked.run, "--device", "abacus")
    assert (
        "holds a run already"
        in reid("distill", walked.run, *OPTIONS, "--dataset", walked.dataset, "--out", walked.run).error
    )
    assert not out.exists()


@pytest.mark.parametrize("words", [("--epochs", 0), ("--batch-size", 1), ("--learning-rate", 0)])
def test_wrong_usage(walked, reid, tmp_path: Path, words: tuple[object, ...]) -> None:
    found = reid("distill", walked.run, *OPTIONS, "--dataset", walked.dataset, "--out", tmp_path / "a", *words)
    assert found.status == 2
