"""Which corrections of a gallery are about tracklets of a dataset: for training and calibration, never for evaluation.

A record comes from a dataset if it was enrolled from its folder, or from one of its crops. If the folder was moved or
copied since, it is known by the record's tracklet, camera, times and picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from reid_toolkit.datasets import Dataset
from reid_toolkit.datasets.known_pairs import KnownPairs
from reid_toolkit.errors import InputError
from reid_toolkit.files import as_name, as_text
from reid_toolkit.gallery.people_table import Correction, Kind
from reid_toolkit.people.book import Book
from reid_toolkit.people.corrections import Links, describe
from reid_toolkit.records import Record, Tracklet


@dataclass(frozen=True)
class Found:
    """What a gallery's corrections say about a dataset."""

    pairs: KnownPairs
    used: int
    """Corrections about two tracklets of the dataset. Several may be about one pair."""
    others: int
    """Corrections about records that do not come from the dataset."""


def known_pairs(book: Book, dataset: Dataset) -> Found:
    """The corrections of a gallery as pairs of tracklets of ``dataset``.

    Raises :class:`InputError` if they contradict each other, because two records come from one tracklet.
    """
    tracklets = {as_name(one.name): one for one in dataset.tracklets}
    root, everything = as_text(dataset.root.resolve()), book.people.corrections
    names: dict[str, str] = {}
    for digest in dict.fromkeys(digest for one in everything for digest in (one.first, one.second)):
        record = book.records.get(digest)
        found = record and origin(record, tracklets, root, dataset.root)
        if found:
            names[digest] = found.name
    said = [
        replace(one, first=names[one.first], second=names[one.second])
        for one in everything
        if one.first in names and one.second in names
    ]
    refuse_contradictions(said, f"{book.where}, compared with {dataset.root}")
    pairs = KnownPairs(pairs_of("same", said), pairs_of("different", said))
    return Found(pairs, len(said), len(everything) - len(said))


def pairs_of(kind: Kind, said: Sequence[Correction]) -> tuple[tuple[str, str], ...]:
    """The pairs of tracklets of one kind of corrections, sorted. Two crops of one tracklet are no pair."""
    pairs = (sorted((one.first, one.second)) for one in said if one.kind == kind and one.first != one.second)
    return tuple(sorted({(first, second) for first, second in pairs}))


def refuse_contradictions(said: Sequence[Correction], where: str) -> None:
    """Raise :class:`InputError` if corrections about tracklets contradict each other."""
    links = Links.of(said)
    for one in links.different:
        chain = links.chain(one.first, one.second)
        if chain is not None:
            called = {name: name for each in said for name in (each.first, each.second)}
            text = "; ".join(describe(each, called) for each in [*chain, one])
            raise InputError(
                f"{where}: corrections about two records of one tracklet contradict each other: {text}: undo one of "
                "them, with `reid people undo`"
            )


def origin(record: Record, tracklets: Mapping[str, Tracklet], root: str, folder: Path) -> Tracklet | None:
    """The tracklet that a record was made of. None if it does not come from the dataset."""
    found = tracklets.get(record.tracklet)
    if found is None or found.camera not in (record.camera, ""):  # a camera may have been named when it was enrolled
        return None
    if record.source == root:
        return found
    one_crop = record.source == record.image
    crops = {as_text(crop.path.resolve()) for crop in found.crops} if one_crop else set()
    if record.source in crops or is_moved(record, found, folder, one_crop=one_crop):
        return found
    return None


def is_moved(record: Record, tracklet: Tracklet, folder: Path, *, one_crop: bool) -> bool:
    """Whether a record was made of this tracklet when the dataset lay elsewhere: times and picture are the same."""
    image = PurePosixPath(record.image)
    for crop in tracklet.crops:
        inside = PurePosixPath(as_text(crop.path.relative_to(folder).as_posix()))
        if image.parts[-len(inside.parts) :] != inside.parts:
            continue
        times = (crop.time, crop.time) if one_crop else (tracklet.start, tracklet.end)
        before = PurePosixPath(*image.parts[: -len(inside.parts)])
        return (record.start, record.end) == times and (one_crop or before == PurePosixPath(record.source))
    return False
