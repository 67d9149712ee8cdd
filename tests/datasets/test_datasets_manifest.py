from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reid_toolkit.datasets import open_dataset, without_identities
from reid_toolkit.datasets.dataset import Dataset, with_identities
from reid_toolkit.datasets.manifest import (
    COLUMNS,
    as_identity,
    manifest_text,
    read_identities,
    read_manifest,
    write_manifest,
)
from reid_toolkit.errors import DatasetError
from reid_toolkit.files import as_name
from reid_toolkit.records import Crop

HEADER = ",".join(COLUMNS)
ROW = {
    "path": "a.png", "camera": "north", "tracklet": "t1", "frame": "3", "time": "1.5", "x": "1", "y": "2",
    "width": "32", "height": "64", "score": "0.9", "identity": "",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two pictures, a.png and b.png, without a manifest."""
    root = tmp_path / "data"
    root.mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(root / name), np.zeros((4, 2, 3), np.uint8))
    return root


def write(root: Path, *rows: dict[str, str]) -> None:
    lines = [HEADER, *(",".join((ROW | row).values()) for row in rows)]
    (root / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def refused(root: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        read_manifest(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_row_becomes_a_crop(folder: Path) -> None:
    write(folder, {"identity": "7"})
    crop = Crop(
        folder.resolve() / "a.png", "north", "t1", 3, 1.5, 1, 2, 32, 64, 0.9, "7", f"{folder / 'manifest.csv'}, row 2"
    )
    dataset = read_manifest(folder)
    assert dataset.crops == (crop,)
    assert dataset.layout == "manifest"
    assert dataset.tracklets[0].identity == "7"
    assert dataset.tracklets[0].start == dataset.tracklets[0].end == 1.5


def test_what_is_not_known_is_none(folder: Path) -> None:
    write(folder, {"time": "", "identity": ""})
    (crop,) = read_manifest(folder).crops
    assert crop.time is None
    assert crop.identity is None


def test_tracklets_are_sorted_by_name_and_crops_by_frame(folder: Path) -> None:
    cv2.imwrite(str(folder / "c.png"), np.zeros((4, 2, 3), np.uint8))
    write(
        folder, {"path": "b.png", "tracklet": "t2"}, {"path": "a.png", "frame": "9"}, {"path": "c.png", "frame": "10"}
    )
    dataset = read_manifest(folder)
    assert [t.name for t in dataset.tracklets] == ["t1", "t2"]
    assert [crop.frame for crop in dataset.crops] == [9, 10, 3]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"path": ""}, "path is empty"),
        ({"camera": ""}, "camera is empty"),
        ({"tracklet": ""}, "tracklet is empty"),
        ({"path": "gone.png"}, "'gone.png': no such file"),
        ({"path": "."}, "no such file"),
        ({"path": "../secret.png"}, "'../secret.png' leads out of the dataset folder"),
        ({"path": "sub/../../secret.png"}, "leads out of the dataset folder"),
        ({"path": "/etc/passwd"}, "leads out of the dataset folder"),
        ({"path": "link.png"}, "leads out of the dataset folder"),
        ({"path": "circle.png"}, "circle.png"),
        ({"path": "a\0b.png"}, "cannot be a path"),
        ({"path": "x" * 5000}, "cannot be a path"),
        ({"frame": "-1"}, "frame is '-1': expected a whole number from 0"),
        ({"frame": "1.5"}, "frame is '1.5'"),
        ({"frame": ""}, "frame is ''"),
        ({"x": "left"}, "x is 'left': expected a finite number"),
        ({"y": "nan"}, "y is 'nan'"),
        ({"width": "inf"}, "width is 'inf'"),
        ({"height": ""}, "height is ''"),
        ({"score": "high"}, "score is 'high'"),
        ({"time": "noon"}, "time is 'noon'"),
        ({"time": "nan"}, "time is 'nan'"),
        ({"time": "-1"}, "time is '-1': expected seconds"),
        ({"time": "1763800000000"}, "expected seconds (this looks like milliseconds)"),
        ({"identity": "7,8"}, "expected 11 values, got 12"),
    ],
)
def test_a_bad_row_is_refused_by_number(folder: Path, row: dict[str, str], words: str) -> None:
    (folder.parent / "secret.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "circle.png").symlink_to(folder / "circle.png")
    write(folder, {"path": "b.png"}, row)
    message = refused(folder)
    assert "manifest.csv, row 3: " in message
    assert words in message


def test_an_absolute_path_is_refused_even_inside_the_folder(folder: Path) -> None:
    write(folder, {"path": str(folder / "a.png")})
    assert "leads out of the dataset folder: expected a path" in refused(folder)


def test_a_link_inside_the_folder_is_followed_and_counts_as_its_file(folder: Path) -> None:
    (folder / "link.png").symlink_to("a.png")
    write(folder, {"path": "link.png"})
    assert read_manifest(folder).crops[0].path == folder.resolve() / "a.png"
    write(folder, {"path": "a.png"}, {"path": "link.png"})
    assert "row 3: 'a.png' is named twice, before in" in refused(folder)


def test_a_folder_that_is_itself_a_link_can_be_read(folder: Path) -> None:
    write(folder, {})
    (folder.parent / "link").symlink_to(folder)
    assert len(read_manifest(folder.parent / "link").crops) == 1


def test_a_crop_named_twice_is_refused_with_both_rows(folder: Path) -> None:
    write(folder, {}, {"path": "b.png"}, {"path": "./a.png", "frame": "4"})
    message = refused(folder)
    assert "row 4: 'a.png' is named twice" in message
    assert message.endswith("row 2")


@pytest.mark.parametrize(("column", "values"), [("camera", ("north", "south")), ("identity", ("1", "2"))])
def test_a_tracklet_is_one_person_in_one_camera(folder: Path, column: str, values: tuple[str, str]) -> None:
    write(folder, {column: values[0]}, {"path": "b.png", column: values[1]})
    message = refused(folder)
    assert f"tracklet 't1' has two values of {column}, {values[0]!r} and {values[1]!r}" in message
    assert "manifest.csv, row 2" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "wrong columns"),
        (b"\n\n", "wrong columns"),
        (HEADER.encode() + b"\n", "no crops"),
        (HEADER.replace("score,", "").encode(), "wrong columns ('score')"),
        (HEADER.replace("score", "confidence").encode(), "wrong columns ('confidence')"),
        (HEADER.encode() + b",extra", "wrong columns ('extra')"),
        (HEADER.replace("x,y", "y,x").encode(), "wrong columns (another order)"),
        (HEADER.replace(",", ";").encode(), "expected the header path,camera"),
        (HEADER.encode() + b"\na.png,caf\xe9", "not text: expected a UTF-8 CSV file"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not text"),
        (HEADER.encode() + b'\n"a.png"x,north', "row 2: not CSV"),
        (HEADER.encode() + b"\n" + ",".join(ROW.values()).encode() + b'\n"never closed', "row 3: not CSV"),
        (HEADER.encode() + b"\na.png,north", "row 2: expected 11 values, got 2"),
    ],
)
def test_what_is_not_our_csv_is_refused(folder: Path, content: bytes, words: str) -> None:
    (folder / "manifest.csv").write_bytes(content)
    message = refused(folder)
    assert "manifest.csv" in message
    assert words in message


def test_no_manifest_and_no_folder_are_named(tmp_path: Path) -> None:
    assert "manifest.csv: no such file" in refused(tmp_path)
    with pytest.raises(DatasetError, match="gone: no such folder"):
        open_dataset(tmp_path / "gone")


def test_rows_are_counted_as_a_spreadsheet_does(folder: Path) -> None:
    lines = [HEADER, ",".join((ROW | {"tracklet": '"two\nlines\nmore"'}).values()), "", ",".join(ROW.values()), "short"]
    (folder / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")
    assert "row 5: expected 11 values, got 1" in refused(folder)


def test_what_a_spreadsheet_saves_can_be_read(folder: Path) -> None:
    text = "\r\n".join([HEADER, ",".join(f'"{value}"' for value in ROW.values()), ""])
    (folder / "manifest.csv").write_bytes(text.encode("utf-8-sig"))
    assert read_manifest(folder).crops[0].camera == "north"


# A lone carriage return is what Python's csv module itself cannot write and read back.
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1, max_size=8).map(as_name)
crops = st.builds(
    Crop,
    path=st.just(Path()),
    camera=st.just("c"),
    tracklet=names,
    frame=st.integers(0, 2**40),
    time=st.none() | st.integers(0, 10**13).map(lambda ms: round(ms / 1000, 3)),
    x=st.integers(-(10**6), 10**6).map(lambda tenths: tenths / 10),
    y=st.integers(-(10**6), 10**6).map(lambda tenths: tenths / 10),
    width=st.integers(0, 10**6).map(lambda tenths: tenths / 10),
    height=st.integers(0, 10**6).map(lambda tenths: tenths / 10),
    score=st.integers(0, 1000).map(lambda thousandths: thousandths / 1000),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.lists(crops, min_size=1, max_size=6), camera=names, who=st.none() | names)
def test_what_is_written_is_read_back(tmp_path: Path, drawn: list[Crop], camera: str, who: str | None) -> None:
    root = tmp_path.resolve()
    wanted = set()
    for i, crop in enumerate(drawn):
        path = root / f'{i}, \'é "q".jpg'
        path.touch()
        wanted.add(replace(crop, path=path, camera=camera, identity=who))
    write_manifest(root, wanted)
    meant = {replace(crop, identity=who and as_identity(who)) for crop in wanted}  # "07" and "7" are one
    assert {replace(crop, origin="") for crop in read_manifest(root).crops} == meant


def test_a_crop_outside_the_folder_cannot_be_written(folder: Path) -> None:
    with pytest.raises(ValueError, match="not in the subpath"):
        write_manifest(folder, [Crop(folder.parent / "a.png", "north", "t1")])
    assert not (folder / "manifest.csv").exists()


def test_crops_may_be_named_through_a_link_or_a_folder_above(folder: Path, tmp_path: Path) -> None:
    write(folder, {})
    (crop,) = read_manifest(folder).crops
    link = tmp_path / "link"
    link.symlink_to(folder)
    relative = crop.path.relative_to(folder.resolve())
    for path in (crop.path, link / relative, folder / "x" / ".." / relative):
        write_manifest(folder, [replace(crop, path=path)])
        assert read_manifest(folder).crops[0].path == crop.path


def test_to_write_what_was_read_the_disk_is_not_asked_for_each_crop(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest is written with each recording that is added, and has the crops of all those before."""
    write(folder, {})
    crops = read_manifest(folder).crops
    asked: list[Path] = []
    real = Path.resolve
    monkeypatch.setattr(Path, "resolve", lambda path: asked.append(path) or real(path))
    assert manifest_text(folder, crops)
    assert asked == [folder]


def test_identities_are_read_and_empty_ones_are_not_known(tmp_path: Path) -> None:
    path = tmp_path / "who.csv"
    path.write_bytes('\ufefftracklet,identity\r\na,7\r\n\r\nb,\r\n"c, d",-1\r\n'.encode())
    assert read_identities(path) == {"a": "7", "c, d": "-1"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file: expected a CSV file with the header tracklet,identity"),
        (b"", "wrong columns"),
        (b"identity,tracklet\n", "another order"),
        (b"tracklet,person\n", "wrong columns ('person')"),
        (b"tracklet,identity\na\n", "row 2: expected 2 values, got 1"),
        (b"tracklet,identity\na,1\nb,2,3\n", "row 3: expected 2 values, got 3"),
        (b"tracklet,identity\na,1\nb,2\na,1\n", "row 4: tracklet 'a' is named twice"),
        (b"tracklet,identity\na,\nb,2\na,1\n", "row 4: tracklet 'a' is named twice"),
        (b"tracklet,identity\n\xff,1\n", "not text"),
        (b'tracklet,identity\n"a,1\n', "row 2: not CSV"),
    ],
)
def test_damaged_identities_are_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "who.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        read_identities(path)
    assert "who.csv" in str(caught.value)
    assert words in str(caught.value)


def identities_of(dataset: Dataset) -> dict[str, set[str | None]]:
    return {t.name: {t.identity, *(crop.identity for crop in t.crops)} for t in dataset.tracklets}


def test_with_identities_says_who_everybody_is(folder: Path) -> None:
    write(folder, {"identity": "old"}, {"path": "b.png", "tracklet": "t2", "identity": "old"})
    dataset = read_manifest(folder)
    assert identities_of(dataset.with_identities({"t1": "new"})) == {"t1": {"new"}, "t2": {None}}
    assert identities_of(without_identities(dataset)) == {"t1": {None}, "t2": {None}}
    assert identities_of(dataset) == {"t1": {"old"}, "t2": {"old"}}


def test_identities_of_tracklets_that_are_not_there_are_refused(folder: Path) -> None:
    write(folder, {})
    with pytest.raises(DatasetError, match=r"identities name 2 tracklets .* the first is 'q'"):
        with_identities([read_manifest(folder)], {"t1": "1", "z": "1", "q": "1"})


def test_one_list_of_identities_is_for_all_parts_of_a_dataset(folder: Path) -> None:
    write(folder, {}, {"path": "b.png", "tracklet": "t2"})
    whole = read_manifest(folder)
    parts = [replace(whole, tracklets=whole.tracklets[place : place + 1]) for place in range(2)]
    named = with_identities(parts, {"t1": "1", "t2": "2"})
    assert [identities_of(part) for part in named] == [{"t1": {"1"}}, {"t2": {"2"}}]
    assert [identities_of(part) for part in with_identities(parts, {"t2": "2"})] == [{"t1": {None}}, {"t2": {"2"}}]
    with pytest.raises(DatasetError, match="the first is 't3'"):
        with_identities(parts, {"t1": "1", "t3": "2"})


@pytest.mark.parametrize(
    ("written", "meant"),
    [("7", "7"), ("0007", "7"), ("7.0", "7"), (" 7 ", "7"), ("0000", "0"), ("0.0", "0"), ("-1.0", "-1"), ("-1.", "-1"),
     ("anna", "anna"), ("7a", "7a"), ("1.5", "1.5"), ("1e3", "1e3"), ("", None), (" ", None)],
)  # fmt: skip
def test_identities_are_read_in_the_spellings_of_the_field(folder: Path, written: str, meant: str | None) -> None:
    write(folder, {"identity": written})
    assert read_manifest(folder).tracklets[0].identity == meant
    (folder / "who.csv").write_text(f"tracklet,identity\nt1,{written}\n")
    assert read_identities(folder / "who.csv") == ({} if meant is None else {"t1": meant})


def test_the_recording_is_a_column_that_may_be_missing(folder: Path) -> None:
    write(folder, {}, {"path": "b.png", "tracklet": "t2"})
    assert {crop.recording for crop in read_manifest(folder).crops} == {""}
    before = (folder / "manifest.csv").read_text()
    write_manifest(folder, read_manifest(folder).crops)
    assert (folder / "manifest.csv").read_text().splitlines()[0] == HEADER, "nobody knows one: the column stays away"
    named = [replace(crop, recording=f"rec {crop.tracklet}"[:6]) for crop in read_manifest(folder).crops[:1]]
    write_manifest(folder, [*named, *read_manifest(folder).crops[1:]])
    assert (folder / "manifest.csv").read_text().splitlines()[0] == f"{HEADER},recording"
    assert [crop.recording for crop in read_manifest(folder).crops] == ["rec t1", ""]
    (folder / "manifest.csv").write_text(before.replace(HEADER, f"{HEADER},notes"))
    assert "wrong columns ('notes')" in refused(folder)


def test_names_are_compared_in_one_normal_form(folder: Path) -> None:
    """ "é" as one sign, as most keyboards write it, and as two, as macOS names files."""
    one, two = "caf\u00e9", "cafe\u0301"
    write(
        folder,
        {"camera": one, "tracklet": two, "identity": one},
        {"path": "b.png", "camera": two, "tracklet": one, "identity": two},
    )
    (tracklet,) = read_manifest(folder).tracklets
    assert (tracklet.name, tracklet.camera, tracklet.identity) == (one, one, one)
    (folder / "who.csv").write_text(f"tracklet,identity\n{two},{two}\n", encoding="utf-8")
    assert read_identities(folder / "who.csv") == {one: one}


def test_a_tracklet_lasts_from_its_least_to_its_greatest_time(folder: Path) -> None:
    """Converters write frame 0 where it is not known."""
    write(folder, {"frame": "0", "time": "9"}, {"path": "b.png", "frame": "0", "time": "4"})
    (tracklet,) = read_manifest(folder).tracklets
    assert (tracklet.start, tracklet.end) == (4, 9)


@pytest.mark.parametrize("camera", ["hall\r", "a\nb", 'say "cheese"', "a,b", "\r", " north ", "é漢"])
def test_any_name_that_is_written_is_read_again(folder: Path, camera: str) -> None:
    write(folder, {})
    crop = replace(read_manifest(folder).crops[0], camera=camera, tracklet=camera)
    write_manifest(folder, [crop])
    (again,) = read_manifest(folder).crops
    assert (again.camera, again.tracklet) == (camera, camera)
    assert len((folder / "manifest.csv").read_bytes().split(b"\n")) == 3 + camera.count("\n") * 2


def test_the_fingerprint_is_of_the_data_and_not_of_who_it_shows(folder: Path) -> None:
    def fingerprint(*rows: dict[str, str]) -> str:
        write(folder, *rows)
        return read_manifest(folder).fingerprint

    a, b = {}, {"path": "b.png", "tracklet": "t2"}
    first = fingerprint(a, b)
    assert len(first) == 16
    assert fingerprint(b, a) == first, "order of rows"
    assert fingerprint(a | {"identity": "7"}, b) == first
    assert read_manifest(folder).with_identities({"t2": "1"}).fingerprint == first
    moved = folder.rename(folder.parent / "moved")
    assert read_manifest(moved).fingerprint == first, "place of the folder"
    moved.rename(folder)

    others = [fingerprint(a), fingerprint(a | {"tracklet": "t3"}, b), fingerprint(a | {"camera": "south"}, b)]
    with open(folder / "a.png", "ab") as handle:
        handle.write(b"\0")
    others.append(fingerprint(a, b))
    assert len({first, *others}) == 5


def test_a_fingerprint_of_names_that_are_not_utf8(tmp_path: Path, make: Callable[..., None]) -> None:
    make(tmp_path / "caf\udce9.png")
    assert len(open_dataset(tmp_path).fingerprint) == 16
