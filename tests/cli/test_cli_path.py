"""From footage to search and figures, by the commands alone."""

import csv
import shutil
from pathlib import Path

from reid_toolkit.datasets.manifest import read_identities, read_manifest


def test_from_footage_to_figures(walked) -> None:
    reports, tracklets = walked.reports, read_manifest(walked.dataset).tracklets
    assert reports["ingest"]["videos"] == 2
    assert reports["ingest"]["tracklets"] == len(tracklets) >= 6

    stages = reports["train"]["stages"]
    assert stages[0]["clusters"] == len(tracklets)
    assert stages[-1]["clusters"] < stages[0]["clusters"]
    assert reports["train"]["selected"]["stage"] in range(len(stages))
    rows = list(csv.DictReader((walked.run / "clusters.csv").read_text().splitlines()))
    assert [row["tracklet"] for row in rows] == [tracklet.name for tracklet in tracklets]
    assert reports["train"]["selected"]["clusters"] == len({row["cluster"] for row in rows})

    assert reports["export"]["max_difference"] < 1e-3
    assert reports["export"]["batches"] == [1, 2, 17]
    assert reports["export"]["bytes"] == walked.model.stat().st_size
    assert reports["enroll"]["enrolled"] == reports["enroll"]["count"] == len(tracklets)

    matches = reports["search"]["matches"]
    assert [match["rank"] for match in matches] == [1, 2, 3]
    distances = [match["distance"] for match in matches]
    assert distances == sorted(distances)
    assert all(0 <= distance <= 2 for distance in distances)
    assert tracklets[0].name not in {match["tracklet"] for match in matches}
    truth = read_identities(walked.identities)
    assert [match["right"] for match in matches] == [
        truth[match["tracklet"]] == truth[tracklets[0].name] for match in matches
    ]

    figures = reports["evaluate"]["model.onnx"]
    assert 0 < figures["mAP"] <= 1
    assert figures["rank-1"] <= figures["rank-5"] <= figures["rank-20"] <= 1
    assert [(pair["query"], pair["gallery"]) for pair in figures["pairs"]] == [("hall", "north"), ("north", "hall")]
    assert "<html" in (walked.dataset.parent / "report.html").read_text()


def test_the_path_can_be_walked_again(walked, recipe, reid, tmp_path: Path) -> None:
    """Each command run again changes nothing, and says so."""
    run, gallery = (shutil.copytree(folder, tmp_path / folder.name) for folder in (walked.run, walked.gallery))
    again = reid("train", walked.dataset, "--recipe", recipe, "--out", run, "--resume", "--json").json
    assert again["stages"] == walked.reports["train"]["stages"]
    enrolled = reid("enroll", walked.dataset, "--model", walked.model, "--gallery", gallery, "--json").json
    assert enrolled["enrolled"] == 0
    assert enrolled["already"] == walked.reports["enroll"]["enrolled"]
