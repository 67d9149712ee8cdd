"""The study of what probabilities are worth, as it is typed, on a crowd that takes no training."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import cv2
import onnx
import pytest
from crowd import CAMERAS, PEOPLE, VISITS, write_clusters, write_crowd
from tiny_model import build_model

pytest.importorskip("matplotlib")
pytest.importorskip("torch")
TOOLS = Path(__file__).parents[2] / "tools"


@pytest.mark.parametrize("how", [(), ("--camera-statistics",)])
def test_it_judges_each_way_on_each_footage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: tuple) -> None:
    for name, seed in (("demo", 0), ("other", 1)):
        write_crowd(tmp_path / name / "people", seed)
        names = [f"{a}-{visit}-{who}" for a in CAMERAS for visit in range(VISITS) for who in range(PEOPLE)]
        rows = ["tracklet,identity", *(f"{one},{one.rpartition('-')[2]}" for one in names[1:])]
        (tmp_path / name / "identities.csv").write_text("\n".join(rows) + "\n")
    onnx.save(build_model(), str(tmp_path / "demo" / "model.onnx"))
    write_clusters(tmp_path / "demo" / "run")
    words = (
        tmp_path / "demo", "--held-out", tmp_path / "other", "--people", PEOPLE, "--json", tmp_path / "c.json",
        "--png", tmp_path / "c.png", *how,
    )  # fmt: skip
    monkeypatch.syspath_prepend(TOOLS)
    monkeypatch.setattr(sys, "argv", ["study_calibration.py", *map(str, words)])
    runpy.run_path(str(TOOLS / "study_calibration.py"), run_name="__main__")
    found = json.loads((tmp_path / "c.json").read_text())
    assert {(row["fitted"], row["evidence"], row["judged"]) for row in found["results"]} == {
        (fitted, evidence, judged)
        for fitted, kinds in (
            ("trained on", ("one camera", "neighbours", "run")),
            ("not trained on", ("one camera", "neighbours")),
        )
        for evidence in kinds
        for judged in ("trained on", "not trained on")
    }
    run = next(row for row in found["results"] if row["evidence"] == "run" and row["people"])
    assert run["base_rate"] == pytest.approx(1 / PEOPLE, abs=1e-4)
    # The crowd's clusters are the truth, so what is said across cameras comes true.
    assert run["pairs across cameras"]["error"] < 0.05
    assert 0 <= run["false_matches"][0]["two cameras, false"] < 0.1
    assert found["median distances"]["trained on"]["one person, two cameras"] > 0
    image = cv2.imread(str(tmp_path / "c.png"))
    assert image is not None
    assert image.std() > 5
    shutil.rmtree(tmp_path / "other")
