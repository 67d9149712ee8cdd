import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.manifest import write_manifest

pytest.importorskip("sklearn")


@pytest.fixture
def run(walked, tmp_path: Path) -> Path:
    return shutil.copytree(walked.run, tmp_path / "run [1]")


def test_a_run_becomes_a_page(walked, reid, run: Path) -> None:
    said = reid("report", run, "--dataset", walked.dataset, "--identities", walked.identities, "--json").json
    assert said["report"] == str(run / "report.html")
    assert said["left_out"] == []
    assert said["kept"] == json.loads((run / "model.json").read_text())["stage"]
    evaluation = [json.loads(line) for line in (run / "evaluation.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in said["stages"]] == [row["stage"] for row in evaluation]
    assert evaluation[0]["stage"] == -1
    assert [row["mAP"] for row in said["stages"]] == [row["mAP"] for row in evaluation]
    assert said["untrained"]["mAP"] == evaluation[0]["mAP"]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "mAP, by identities" in page
    assert "Who is found, by identities" in page
    assert "before training" in page  # the baseline
    # What was measured is known from then on, and the page of the run alone shows it.
    alone = reid("report", run, "--out", run / "b" / "alone.html")
    assert (alone.status, alone.out) == (0, "")
    assert f"report: {run / 'b' / 'alone.html'}" in alone.err
    assert "note: Clusters' pictures and the plane of descriptors are left out: give --dataset" in alone.err
    assert "mAP, by identities" in (run / "b" / "alone.html").read_text(encoding="utf-8")


def test_without_identities_nothing_is_measured(walked, reid, run: Path) -> None:
    said = reid("report", run, "--dataset", walked.dataset, "--json").json
    assert not (run / "evaluation.jsonl").exists()
    assert "mAP" not in said["stages"][0]


def test_bad_input_is_one_line_and_writes_nothing(walked, reid, run: Path, tmp_path: Path) -> None:
    before = sorted(run.rglob("*"))

    def error(folder: Path, *arguments: object) -> str:
        return reid("report", folder, *arguments).error

    assert "not a training run" in error(tmp_path / "gone")
    assert "not a training run" in error(walked.dataset)
    assert "no such folder" in error(run, "--dataset", tmp_path / "gone")
    other = shutil.copytree(walked.dataset, tmp_path / "other")
    lines = (other / "manifest.csv").read_text().splitlines()
    (other / "manifest.csv").write_text("\n".join(lines[:-1]) + "\n")
    assert "was not trained on" in error(run, "--dataset", other)
    data = ("--dataset", walked.dataset)
    assert "gone.csv" in error(run, *data, "--identities", tmp_path / "gone.csv")
    nobody = tmp_path / "nobody.csv"
    nobody.write_text("tracklet,identity\n")
    assert "no identities to evaluate against" in error(run, *data, "--identities", nobody)
    assert "expected cpu, cuda, cuda:N or mps" in error(run, "--device", "abacus")
    assert reid("report", run, "--identities", walked.identities).status == 2
    assert sorted(run.rglob("*")) == before
    last = max((run / "checkpoints").glob("stage-*"))
    last.write_bytes(last.read_bytes()[:1000])
    assert "damaged checkpoint" in error(run)


def test_identities_of_the_datasets_own_that_cannot_be_ranked_are_a_note(walked, reid, run: Path, tmp_path) -> None:
    """One tracklet is known: nobody can be found anywhere. The page is made all the same."""
    data = shutil.copytree(walked.dataset, tmp_path / "people")
    crops = open_dataset(data).crops
    known = crops[0].tracklet
    write_manifest(data, [replace(crop, identity="7" if crop.tracklet == known else None) for crop in crops])
    said = reid("report", run, "--dataset", data, "--json").json
    (reason,) = said["left_out"]
    assert reason.startswith("Figures from the dataset's identities are left out: no query has a right answer")
    assert (run / "report.html").exists()
