"""The data that tools/study_verdict.py trains on: real tracklets, fewer of them, or ones that mix people."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from reid_toolkit.datasets.manifest import read_manifest

pytest.importorskip("matplotlib")
pytest.importorskip("torch")
TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(TOOLS)
    import study_verdict

    yield study_verdict
    sys.modules.pop("study_verdict", None)


def test_half_of_a_cameras_crops_change_their_tracklets_and_none_its_camera(study, tiny_dataset: Path) -> None:
    crops = read_manifest(tiny_dataset).crops
    mixed = study.mixed(crops)
    assert [crop.path for crop in mixed] == [crop.path for crop in crops]
    assert [crop.camera for crop in mixed] == [crop.camera for crop in crops]
    moved = sum(a.tracklet != b.tracklet for a, b in zip(mixed, crops, strict=True))
    assert len(crops) // 5 < moved < len(crops)
    assert Counter(crop.tracklet for crop in mixed) == Counter(crop.tracklet for crop in crops)


def test_a_part_is_a_dataset_of_linked_pictures(study, tiny_dataset: Path, tmp_path: Path) -> None:
    people = read_manifest(tiny_dataset)
    assert study.part(people, study.as_it_is, tmp_path / "none") == people.root
    for change in (study.few, study.one_camera, study.mixed):
        out = study.part(people, change, tmp_path / change.__name__)
        changed = read_manifest(out)
        assert Counter(c.tracklet for c in changed.crops) == Counter(c.tracklet for c in change(people.crops))
        assert study.part(people, change, out) == out
    assert len(read_manifest(tmp_path / "one_camera").cameras) == 1
    assert len(read_manifest(tmp_path / "few").tracklets) == len(people.tracklets[::5])
