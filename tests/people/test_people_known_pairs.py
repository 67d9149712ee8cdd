"""Corrections of a gallery that are about a dataset, as pairs of its tracklets."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.known_pairs import KnownPairs
from reid_toolkit.errors import InputError
from reid_toolkit.gallery import Gallery
from reid_toolkit.people.book import Book
from reid_toolkit.people.known_pairs import Found, known_pairs
from reid_toolkit.records import Record
from reid_toolkit.search.enroll import units_of

NORTH, SOUTH, OTHER = "north-00@north", "south-00@south", "north-10@north"


def enrolled(gallery: Path, *datasets: Path, each_crop: bool = False, camera: str = "") -> list[Record]:
    """A gallery with the records that `reid enroll` makes, of drawn descriptors."""
    records = [unit.record for root in datasets for unit in units_of(root, camera, each_crop=each_crop)]
    rows = np.random.default_rng(0).normal(size=(len(records), 16)).astype(np.float32)
    with Gallery.open(gallery) as store:
        store.add(rows / np.linalg.norm(rows, axis=1, keepdims=True), records)
    return records


def say(gallery: Path, *said: tuple[str, str, str]) -> None:
    with Gallery.open(gallery) as store:
        for kind, one, other in said:
            Book(store, "G", time.time()).say(kind, one, other, "ana")


def found(gallery: Path, dataset: Path) -> Found:
    with Gallery.open(gallery, create=False) as store:
        return known_pairs(Book(store, "G", time.time()), open_dataset(dataset))


SAID = (("same", NORTH, SOUTH), ("different", NORTH, OTHER))
PAIRS = KnownPairs(same=(("north-00", "south-00"),), different=(("north-00", "north-10"),))


@pytest.mark.parametrize("each_crop", [False, True])
def test_records_of_the_dataset_are_its_tracklets(tiny_dataset: Path, tmp_path: Path, each_crop: bool) -> None:
    enrolled(tmp_path / "g", tiny_dataset, each_crop=each_crop)
    say(tmp_path / "g", *SAID)
    assert found(tmp_path / "g", tiny_dataset) == Found(PAIRS, used=2, others=0)


@pytest.mark.parametrize("each_crop", [False, True])
def test_a_dataset_that_was_copied_is_known(tiny_dataset: Path, tmp_path: Path, each_crop: bool) -> None:
    enrolled(tmp_path / "g", tiny_dataset, each_crop=each_crop)
    say(tmp_path / "g", *SAID)
    elsewhere = tmp_path / "else" / "where"
    shutil.copytree(tiny_dataset, elsewhere)
    assert found(tmp_path / "g", elsewhere) == Found(PAIRS, used=2, others=0)
    manifest = elsewhere / "manifest.csv"  # another day's footage, with the same names
    lines = manifest.read_text().splitlines()
    column = lines[0].split(",").index("time")
    for place, line in enumerate(lines[1:], start=1):
        cells = line.split(",")
        cells[column] = str(float(cells[column]) + 86_400)
        lines[place] = ",".join(cells)
    manifest.write_text("\n".join(lines) + "\n")
    assert found(tmp_path / "g", elsewhere) == Found(KnownPairs(), used=0, others=2)


def test_other_records_are_counted(tiny_dataset: Path, tmp_path: Path) -> None:
    enrolled(tmp_path / "g", tiny_dataset)
    with Gallery.open(tmp_path / "g") as store:
        stranger = np.ones((1, 16), np.float32) / 4
        store.add(
            stranger,
            [
                Record("north-00", "north", source="rtsp://north"),
            ],
        )
    source = open_dataset(tiny_dataset).root.resolve()
    say(
        tmp_path / "g",
        ("same", f"north-00@north@{source}", SOUTH),
        ("different", "north-00@north@rtsp://north", OTHER),
    )
    assert found(tmp_path / "g", tiny_dataset) == Found(replace(PAIRS, different=()), used=1, others=1)


def test_a_camera_may_have_been_named_when_it_was_enrolled(tmp_path: Path, tiny_dataset: Path) -> None:
    plain = tmp_path / "plain"
    for name in ("ana", "bob"):
        (plain / name).mkdir(parents=True)
        shutil.copy(tiny_dataset / "crops" / "north-00-0.png", plain / name / "0.png")
    records = enrolled(tmp_path / "g", plain, camera="hall")
    assert {record.camera for record in records} == {"hall"}
    say(tmp_path / "g", ("different", records[0].tracklet, records[1].tracklet))
    assert found(tmp_path / "g", plain).used == 1


def test_two_records_of_a_tracklet_must_agree(tiny_dataset: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "copy"
    shutil.copytree(tiny_dataset, elsewhere)
    enrolled(tmp_path / "g", tiny_dataset, elsewhere)
    one, two = (open_dataset(root).root.resolve() for root in (tiny_dataset, elsewhere))
    say(
        tmp_path / "g",
        ("same", f"{NORTH}@{one}", f"{SOUTH}@{one}"),
        ("same", f"{NORTH}@{two}", f"{SOUTH}@{two}"),
    )
    assert found(tmp_path / "g", tiny_dataset) == Found(replace(PAIRS, different=()), used=2, others=0)
    say(tmp_path / "g", ("same", f"{SOUTH}@{two}", f"{OTHER}@{two}"), ("different", f"{NORTH}@{one}", f"{OTHER}@{one}"))
    with pytest.raises(InputError, match=r"contradict each other: c-1: north-00 is the same person as south-00.*c-4"):
        found(tmp_path / "g", tiny_dataset)


def test_pairs_are_written_and_read() -> None:
    odd = KnownPairs(same=(("a\udcff", "é"),), different=(("a", 'b"'), ("c", "d")))
    assert KnownPairs.from_json(odd.to_json()) == odd
    assert odd.digest != PAIRS.digest
    for text in ("[]", "{", '{"same": [["a"]], "different": []}', '{"same": []}'):
        with pytest.raises(ValueError, match=r"."):
            KnownPairs.from_json(text)
