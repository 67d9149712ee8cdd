"""reid dataset as a user runs it."""

from pathlib import Path

import pytest
from drawn_yard import ScriptedDetector, write_video

from reid_toolkit.datasets.manifest import read_manifest
from reid_toolkit.footage.ingest import ingest
from reid_toolkit.footage.repair import SET_ASIDE


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    for shade, name in enumerate(("gate", "hall")):
        video = write_video(tmp_path / f"{name}.avi", shade=10 * shade)
        ingest([video], tmp_path / "set", camera=name, detector=ScriptedDetector())
    return tmp_path / "set"


def test_check_names_what_is_refused_and_sets_it_aside(reid, dataset: Path) -> None:
    done = reid("dataset", "check", dataset)
    crops = len(read_manifest(dataset).crops)
    assert (done.status, done.out) == (0, f"{dataset}: 2 tracklets, {crops} crops can be read\n")
    path = dataset / "manifest.csv"
    path.write_bytes(path.read_text().replace(",hall,", ",hall\r,").encode())
    refused = reid("dataset", "check", dataset)
    assert refused.status == 1
    assert "rows and 0 recordings cannot be read: --repair sets them aside" in refused.err
    assert "manifest.csv, row " in refused.out
    mended = reid("dataset", "check", dataset, "--repair")
    assert mended.status == 0
    assert "1 tracklets" in mended.out
    assert f"set aside in {dataset / SET_ASIDE}" in mended.err
    assert reid("dataset", "check", dataset, "--json").json["sound"]
    assert "no such folder" in reid("dataset", "check", dataset / "gone").error
