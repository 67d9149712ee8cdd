"""Tracklets are dropped and split, and every change can be undone."""

import csv
import io
import os
import shutil
from pathlib import Path

import pytest
from drawn_yard import ScriptedDetector, write_video

from reid_toolkit.datasets.manifest import read_manifest
from reid_toolkit.errors import DatasetError
from reid_toolkit.footage import changes
from reid_toolkit.footage.changes import BEFORE, NAMES, RECORD, SET_ASIDE, drop, fingerprints_before, split, undo
from reid_toolkit.footage.dataset_writer import read_journal
from reid_toolkit.footage.ingest import ingest
from reid_toolkit.footage.repair import repair

GATE, HALL = "gate-00000", "hall-00000"


def add(out: Path, name: str, shade: int) -> None:
    ingest([write_video(out.parent / f"{name}.avi", shade=shade)], out, camera=name, detector=ScriptedDetector())


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings and their dataset "set"; not to be changed."""
    root = tmp_path_factory.mktemp("ingested")
    for shade, name in enumerate(("gate", "hall")):
        add(root / "set", name, 10 * shade)
    return root


@pytest.fixture
def dataset(ingested: Path, tmp_path: Path) -> Path:
    return shutil.copytree(ingested, tmp_path, dirs_exist_ok=True) / "set"


def held(dataset: Path) -> dict[str, list[int]]:
    """Frames of each tracklet."""
    return {one.name: [crop.frame for crop in one.crops] for one in read_manifest(dataset).tracklets}


def table(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(), newline="")))


def contents(dataset: Path) -> dict[str, bytes]:
    return {str(path.relative_to(dataset)): path.read_bytes() for path in dataset.rglob("*") if path.is_file()}


def test_dropped_and_brought_back_to_the_byte(dataset: Path) -> None:
    before = contents(dataset)
    made = drop(dataset, [HALL])
    assert made.words == f"dropped 1 tracklets, {len(made.paths)} crops"
    assert list(held(dataset)) == [GATE]
    assert before.keys() <= contents(dataset).keys()  # no picture is gone
    assert undo(dataset) == made
    assert contents(dataset) == before
    with pytest.raises(DatasetError, match="nothing to undo"):
        undo(dataset)


@pytest.mark.parametrize("refused", ["", ".ingest.lock"], ids=["the folder", "the lock of another user"])
def test_a_folder_that_cannot_be_written_is_named(dataset: Path, monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
    drop(dataset, [HALL])
    before = contents(dataset)
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != dataset / refused)
    for change in (
        lambda: drop(dataset, [GATE]), lambda: split(dataset, GATE, 3), lambda: undo(dataset), lambda: repair(dataset),
        lambda: add(dataset, "door", 20),
    ):  # fmt: skip
        with pytest.raises(DatasetError, match=r"set: cannot be written: .*: expected a dataset folder that"):
            change()
    assert contents(dataset) == before


def test_split_and_joined_to_the_byte(dataset: Path) -> None:
    before, frames = contents(dataset), held(dataset)[GATE]
    made = split(dataset, GATE, frames[3])
    assert made.tracklets == (GATE, f"{GATE}-2")
    assert held(dataset)[GATE] == frames[:3]
    assert held(dataset)[f"{GATE}-2"] == frames[3:]
    again = split(dataset, GATE, frames[1])
    assert again.tracklets == (GATE, f"{GATE}-3")
    assert undo(dataset) == again
    assert undo(dataset) == made
    assert contents(dataset) == before | {f"{SET_ASIDE}/{NAMES}": f"{GATE}-2\n{GATE}-3\n".encode()}


def test_other_values_of_the_manifest_stay_as_they_are_written(dataset: Path) -> None:
    """Another program wrote more digits than we do, and a name that wants quotes."""
    path = dataset / "manifest.csv"
    rows = table(path)
    for row in rows[1:]:
        row[4], row[2] = f"{float(row[4]):.6f}", row[2].replace("hall", 'a "hall", b')
    with path.open("w", newline="") as handle:
        csv.writer(handle).writerows(rows)
    drop(dataset, [GATE])
    kept = [row for row in rows if row[2] != GATE]
    assert table(path) == kept


def test_undone_after_recordings_were_added(dataset: Path) -> None:
    before = held(dataset)
    drop(dataset, [HALL])
    split(dataset, GATE, before[GATE][2])
    add(dataset, "yard", 25)
    undo(dataset)
    undo(dataset)
    assert held(dataset) == before | {"yard-00000": held(dataset)["yard-00000"]}


def test_undone_in_a_dataset_that_got_the_column_recording_since(dataset: Path) -> None:
    path = dataset / "manifest.csv"
    rows = table(path)
    path.write_text("".join(",".join(row[:-1]) + "\n" for row in rows))  # as earlier versions wrote it
    before = held(dataset)
    drop(dataset, [HALL])
    add(dataset, "yard", 25)
    assert path.read_text().splitlines()[0].endswith("recording")
    undo(dataset)
    assert held(dataset) == before | {"yard-00000": held(dataset)["yard-00000"]}


def test_what_was_dropped_stays_so_when_recordings_are_ingested_again(dataset: Path) -> None:
    drop(dataset, [HALL])
    done = ingest([dataset.parent / "hall.avi"], dataset, camera="hall", detector=ScriptedDetector())
    assert done.skipped == 1
    assert list(held(dataset)) == [GATE]
    (dataset / "manifest.csv").write_text((dataset / "manifest.csv").read_text() + "gone.jpg,a,b,0,,0,0,0,0,1,,\n")
    repair(dataset)
    assert [entry["name"] for entry in read_journal(dataset / "ingest.json")] == ["gate", "hall"]
    assert undo(dataset).tracklets == (HALL,)
    assert list(held(dataset)) == [GATE, HALL]


def test_what_cannot_be_undone_is_said(dataset: Path) -> None:
    made = drop(dataset, [HALL])
    add(dataset, "yard", 25)
    shutil.rmtree(dataset / "crops" / "hall")
    before = contents(dataset)
    with pytest.raises(DatasetError, match=r"cannot undo what dropped 1 .* has changed since: .*no such file"):
        undo(dataset)
    assert contents(dataset) == before
    assert len(made.paths) == len([path for path in made.paths if path.startswith("crops/hall/")])


def test_a_change_that_cannot_be_undone_can_be_moved_away_to_undo_what_came_before(
    dataset: Path, tmp_path: Path
) -> None:
    add(dataset, "yard", 25)
    whole = held(dataset)
    drop(dataset, [GATE])
    drop(dataset, [HALL])
    shutil.rmtree(dataset / "crops" / "hall")
    place = dataset / "set-aside" / "002"
    with pytest.raises(
        DatasetError, match=rf"cannot undo .*; move {place} elsewhere to undo what was changed before it"
    ):
        undo(dataset)
    place.rename(tmp_path / "elsewhere")
    assert undo(dataset).tracklets == (GATE,)
    assert held(dataset) == {name: frames for name, frames in whole.items() if name != HALL}


def test_undo_looks_whether_the_crops_are_there(dataset: Path) -> None:
    drop(dataset, [HALL])
    shutil.rmtree(dataset / "crops" / "hall")
    before = contents(dataset)
    with pytest.raises(DatasetError, match=r"cannot undo what dropped 1 .* has changed since: .*no such file"):
        undo(dataset)
    assert contents(dataset) == before


def test_changes_are_undone_in_their_order_however_many_there_were(dataset: Path) -> None:
    before, frames = contents(dataset), held(dataset)[GATE]
    (dataset / SET_ASIDE / "998").mkdir(parents=True)
    split(dataset, GATE, frames[3])
    made = drop(dataset, [f"{GATE}-2"])
    assert (dataset / SET_ASIDE / "1000" / RECORD).exists()
    assert undo(dataset) == made
    undo(dataset)
    assert contents(dataset) == before | {f"{SET_ASIDE}/{NAMES}": f"{GATE}-2\n".encode()}


def test_fingerprints_of_before(dataset: Path) -> None:
    first = read_manifest(dataset).fingerprint
    assert fingerprints_before(dataset) == set()
    split(dataset, GATE, held(dataset)[GATE][2])
    second = read_manifest(dataset).fingerprint
    drop(dataset, [HALL])
    assert fingerprints_before(dataset) == {first, second}


def test_a_process_that_dies_before_the_change_leaves_nothing_to_undo(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = split(dataset, GATE, held(dataset)[GATE][2])
    before = held(dataset)
    write = changes.write_atomic

    def dies(path: Path, content: bytes | str) -> None:
        if path.name == "manifest.csv":
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(changes, "write_atomic", dies)
        with pytest.raises(KeyboardInterrupt):
            drop(dataset, [HALL])
    assert held(dataset) == before
    assert undo(dataset) == first


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: drop(root, ["hal-00000"]), r"no tracklet 'hal-00000' \(did you mean 'hall-00000'\?\)"),
        (lambda root: drop(root, [GATE, HALL]), "has no other tracklets: delete the folder instead"),
        (lambda root: split(root, GATE, 0), r"has the frames \d+ to \d+: expected --at after the first"),
        (lambda root: split(root, GATE, 10_000), "not after the last, got 10000"),
        (lambda root: drop(root / "gone", [GATE]), "no such file: expected a dataset of `reid ingest`"),
        (lambda root: undo(root), "nothing to undo"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(dataset: Path, change, said: str) -> None:
    before = contents(dataset)
    with pytest.raises(DatasetError, match=said):
        change(dataset)
    assert contents(dataset) == before
    assert not (dataset / "gone").exists()


@pytest.mark.parametrize("content", ["{}", "[" * 100_000])
def test_a_damaged_record_is_named(dataset: Path, content: str) -> None:
    drop(dataset, [HALL])
    (dataset / SET_ASIDE / "001" / RECORD).write_text(content)
    with pytest.raises(DatasetError, match=r"change\.json: damaged"):
        undo(dataset)
    (dataset / "manifest.csv").write_text((dataset / "manifest.csv").read_text() + "gone.jpg,a,b,0,,0,0,0,0,1,,\n")
    assert len(repair(dataset).rows) == 1  # all the same
    assert (dataset / SET_ASIDE / "001" / BEFORE).exists()


def test_no_name_is_given_twice(dataset: Path) -> None:
    """A gallery knows a tracklet by its name, and would keep what was enrolled before under it."""
    frames = held(dataset)[GATE]
    given = [split(dataset, GATE, frames[1]).tracklets[1]]
    undo(dataset)
    given.append(split(dataset, GATE, frames[2]).tracklets[1])
    drop(dataset, [given[-1]])
    given.append(split(dataset, GATE, frames[1]).tracklets[1])
    assert given == [f"{GATE}-2", f"{GATE}-3", f"{GATE}-4"]
    shutil.rmtree(dataset / SET_ASIDE)  # nothing is known then, and nothing fails
    assert split(dataset, HALL, held(dataset)[HALL][1]).tracklets[1] == f"{HALL}-2"
