"""A dataset that its own reader refuses is made readable again, and nothing of it is lost."""

import errno
import json
import shutil
from pathlib import Path

import pytest
from drawn_yard import ScriptedDetector, write_video

from reid_toolkit.datasets.manifest import read_manifest
from reid_toolkit.errors import DatasetError
from reid_toolkit.footage.changes import SET_ASIDE
from reid_toolkit.footage.ingest import ingest
from reid_toolkit.footage.repair import inspect, repair


def add(out: Path, name: str, shade: int, camera: str) -> None:
    ingest([write_video(out.parent / f"{name}.avi", shade=shade)], out, camera=camera, detector=ScriptedDetector())


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings, of a camera each, and their dataset "set"; not to be changed."""
    root = tmp_path_factory.mktemp("ingested")
    for shade, name in enumerate(("gate", "hall")):
        add(root / "set", name, 10 * shade, name)
    return root


@pytest.fixture
def dataset(ingested: Path, tmp_path: Path) -> Path:
    return shutil.copytree(ingested, tmp_path, dirs_exist_ok=True) / "set"


def break_name(dataset: Path) -> str:
    """As an older version wrote a camera that was read from a list saved on Windows. Returns the manifest before."""
    path = dataset / "manifest.csv"
    text = path.read_text()
    path.write_bytes(text.replace(",hall,", ",hall\r,").encode())
    return text


def test_a_sound_dataset_is_left_as_it_is(dataset: Path) -> None:
    before = {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()}
    assert inspect(dataset).sound
    assert repair(dataset).sound
    assert {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()} == before


def test_rows_that_break_the_manifest_are_set_aside(dataset: Path) -> None:
    hall = [crop for crop in read_manifest(dataset).crops if crop.camera == "hall"]
    break_name(dataset)
    with pytest.raises(DatasetError, match=r"reid dataset check .* --repair sets it aside"):
        add(dataset, "lobby", 30, "lobby")
    found = repair(dataset)
    assert len(found.rows) == len(hall)
    assert "a carriage return in a name" in found.sentences()[0]
    assert read_manifest(dataset).cameras == ("gate",)
    add(dataset, "lobby", 30, "lobby")
    assert read_manifest(dataset).cameras == ("gate", "lobby")
    # Nothing is lost: the crops are there, and the manifest as it was.
    assert all(crop.path.exists() for crop in hall)
    shutil.copyfile(dataset / SET_ASIDE / "001" / "manifest-before.csv", dataset / "manifest.csv")
    assert len(inspect(dataset).rows) == len(hall)


def test_a_recording_that_cannot_be_entered_is_set_aside(dataset: Path) -> None:
    """Killed between the rename and the entry, with times that no reader takes."""
    folder = dataset / "crops" / "hall"
    rows = (dataset / "manifest.csv").read_text().splitlines()
    entry = json.loads((dataset / "ingest.json").read_text())["recordings"]
    for path, lines in ((dataset, [r for r in rows if ",hall," not in r]), (folder, [rows[0]])):
        (path / "manifest.csv").write_text("\n".join(lines) + "\n")
    (folder / "manifest.csv").write_text(
        rows[0] + "\n" + "\n".join(r.replace("crops/hall/", "").replace(",0,", ",-5,") for r in rows if ",hall," in r)
    )
    text = (folder / "manifest.csv").read_text().splitlines()
    (folder / "manifest.csv").write_text(
        "\n".join([text[0], *(",".join([*r.split(",")[:4], "-31535999.000", *r.split(",")[5:]]) for r in text[1:])])
    )
    (folder / "ingest.json").write_text(json.dumps(entry[1]))
    (dataset / "ingest.json").write_text(json.dumps({"recordings": entry[:1]}))
    with pytest.raises(DatasetError, match="reid dataset check"):
        add(dataset, "lobby", 30, "lobby")
    found = repair(dataset)
    assert list(found.recordings) == ["hall"]
    assert "expected seconds" in found.recordings["hall"]
    assert (dataset / SET_ASIDE / "001" / "hall" / "manifest.csv").exists()
    add(dataset, "lobby", 30, "lobby")
    assert read_manifest(dataset).cameras == ("gate", "lobby")


def test_each_row_is_named_with_what_is_wrong(dataset: Path) -> None:
    path = dataset / "manifest.csv"
    header, *rows = path.read_text().splitlines()
    fields = [row.split(",") for row in rows]
    fields[0][4] = "-1.0"
    fields[1][0] = "../secret.jpg"
    fields[2][0] = fields[3][0]
    broken = [",".join(row) for row in fields]
    broken[4] = broken[4].replace("gate", "g\xe4te")
    path.write_bytes("\n".join([header, *broken, ""]).encode("latin-1"))
    found = inspect(dataset)
    assert "time is '-1.0'" in found.rows[2]
    assert "leads out of the dataset folder" in found.rows[3]
    assert "is named twice, before in row 4" in found.rows[5]
    assert "values of text" in found.rows[6]
    assert set(found.rows) == {2, 3, 5, 6}


@pytest.mark.parametrize("content", [None, "path,camera\n"])
def test_what_cannot_be_mended_is_said(dataset: Path, content: str | None) -> None:
    path = dataset / "manifest.csv"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(DatasetError, match=r"no such file|wrong header"):
        repair(dataset)


def test_what_the_reader_takes_is_left_as_it_is(dataset: Path) -> None:
    path = dataset / "manifest.csv"
    rows = path.read_text().splitlines()
    path.write_bytes("\r\n".join(f'"{row.replace(",", chr(34) + "," + chr(34))}"' for row in rows).encode())
    assert read_manifest(dataset).cameras == ("gate", "hall")
    assert repair(dataset).sound
    named = [row.replace(",hall,", ',"ha\nll",').replace(",gate,", ",g\ufffdte,") for row in rows]
    path.write_text("\n".join(named) + "\n")
    assert inspect(dataset).sound


def test_of_which_no_crop_is_left_is_ingested_again(dataset: Path, tmp_path: Path) -> None:
    shutil.rmtree(dataset / "crops" / "hall")
    assert len(repair(dataset).rows) > 0
    add(dataset, "hall", 10, "hall")
    assert read_manifest(dataset).cameras == ("gate", "hall")


def test_a_dataset_of_which_nothing_is_left_can_be_filled_again(dataset: Path) -> None:
    shutil.rmtree(dataset / "crops")
    repair(dataset)
    assert not (dataset / "manifest.csv").exists()
    add(dataset, "hall", 10, "hall")
    assert read_manifest(dataset).cameras == ("hall",)


def test_a_failing_disk_is_not_a_damaged_row(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (dataset / "manifest.csv").read_bytes()

    def fail(path: Path) -> bool:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_file", fail)
        for use in (read_manifest, repair):
            with pytest.raises(OSError, match="Input/output error"):
                use(dataset)
    assert (dataset / "manifest.csv").read_bytes() == before
    assert not (dataset / "set-aside").exists()


def test_the_name_of_a_recording_whose_crops_are_lost_is_not_used_again(dataset: Path) -> None:
    """A gallery may hold its tracklets, and takes those of the same name for the same."""
    for lost in ("hall", "hall-2"):
        shutil.rmtree(dataset / "crops" / lost)
        repair(dataset)
        add(dataset, "hall", 30, "hall")
    assert [tracklet.name for tracklet in read_manifest(dataset).tracklets] == ["gate-00000", "hall-3-00000"]
