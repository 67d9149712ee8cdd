"""``reid dataset export``, and reading again what it wrote."""

from pathlib import Path

import cv2
import pytest
from drawn_yard import ScriptedDetector, draw_frame, write_video

from reid_toolkit.datasets.manifest import read_manifest
from reid_toolkit.footage.ingest import ingest


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recording and its dataset."""
    root = tmp_path_factory.mktemp("yard")
    video = write_video(root / "yard.avi")
    ingest([video], root / "set", detector=ScriptedDetector(), every=3)
    return video, root / "set"


def rows(folder: Path) -> list[tuple[object, ...]]:
    return [(c.tracklet, c.frame, c.time, c.x, c.y, c.width, c.height) for c in read_manifest(folder).crops]


@pytest.mark.parametrize("form", ["mot", "coco", "cvat", "fiftyone"])
def test_tracks_out_and_in_again_are_equal(form: str, yard: tuple[Path, Path], tmp_path: Path, reid) -> None:
    video, held = yard
    said = reid("dataset", "export", held, "--format", form, "--out", tmp_path / "out", "--json").json
    assert (said["tracks"], said["boxes"]) == (1, len(rows(held)))
    (file,) = said["files"]
    assert (
        reid("ingest", video, "--tracks", file, "--every", 1, "--min-crops", 1, "--out", tmp_path / "set").status == 0
    )
    assert rows(tmp_path / "set") == rows(held)


def test_tracks_of_a_folder_of_pictures_are_equal_again(tmp_path: Path, reid) -> None:
    """Pictures are numbered from 1, frames from 0."""
    folder = tmp_path / "yard"
    folder.mkdir()
    for number in range(20):
        cv2.imwrite(str(folder / f"{number + 1:07d}.png"), draw_frame(number))
    ingest([folder], tmp_path / "set", detector=ScriptedDetector(), every=1)
    for form in ("mot", "coco"):
        (file,) = reid(
            "dataset", "export", tmp_path / "set", "--format", form, "--out", tmp_path / form, "--json"
        ).json["files"]
        again = ("--tracks", file, "--every", 1, "--out", tmp_path / f"again-{form}")
        assert reid("ingest", folder, *again).status == 0
        assert rows(tmp_path / f"again-{form}") == rows(tmp_path / "set")


def test_it_says_what_it_wrote(yard: tuple[Path, Path], tmp_path: Path, reid) -> None:
    _, held = yard
    done = reid("dataset", "export", held, "--format", "mot", "--out", tmp_path / "out")
    assert done.out == f"{tmp_path / 'out'}: 1 file, 1 track, {len(rows(held))} boxes\n"
    market = reid("dataset", "export", held, "--format", "market", "--out", tmp_path / "market")
    assert market.out == (
        f"{tmp_path / 'market'}: {len(rows(held))} images in bounding_box_train, of 1 person in 1 camera\n"
    )
    assert "1 of 1 tracklets have no identity: each is a person of its own" in market.err
    who = tmp_path / "who.csv"
    who.write_text(f"tracklet,identity\n{rows(held)[0][0]},12\n")
    named = reid("dataset", "export", held, "--format", "market", "--out", tmp_path / "named", "--identities", who)
    assert named.err == ""
    assert all(path.name.startswith("0012_c1s1_") for path in (tmp_path / "named" / "bounding_box_train").iterdir())


def test_what_it_refuses(yard: tuple[Path, Path], tmp_path: Path, reid) -> None:
    _, held = yard
    export = ("dataset", "export", held, "--out", tmp_path / "out", "--format")
    assert reid(*export, "mot", "--part", "test").status == 2
    assert "no person is known to be seen by two cameras" in reid(*export, "market", "--part", "test").error
    who = tmp_path / "who.csv"
    who.write_text("tracklet,identity\nnobody,12\n")
    assert "identities name 1 tracklets" in reid(*export, "mot", "--identities", who).error
    assert reid(*export, "mot").status == 0
    assert "is there already" in reid(*export, "mot").error
