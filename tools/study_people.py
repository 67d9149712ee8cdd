"""Measures how well `reid people` groups records into people, against identities, beside two peers.

    python tools/study_people.py --days days --runs runs --pictures labeled/val --model 0286.onnx --json people.json

``--days`` is a folder for drawn days of 40 people in 6 cameras (``reid_toolkit/demo/day.py``), which are drawn if they
are not there. On each, the recipe ``demo_rounds`` is trained without labels into ``--runs``; an unfinished run goes on.
``--pictures`` and ``--model`` add CUHK03's validation crops, named IIII_KK.jpg (identity; 00-04 camera A, 05-09 camera
B), as an ONNX model describes them. Every gallery has camera statistics.

The peers are given what `reid people` is not: the threshold that is best by the truth. They are the connected
components of all pairs under a distance, and agglomerative clustering with average linkage (scikit-learn).

"with least times" groups twice, the second time with the times between cameras that were learned from the first.
"hour by hour" enrolls and groups a day as it happens, an hour at a time. "after N answers" asks the first questions of
`reid people review`, 20 at a time, and answers them by the truth. "pairwise F per 100 answers" is how much F over pairs
of records grew since the first row, for 100 answers. The rows of a case are written when all of them are finished.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cuhk03 import camera_of
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import AgglomerativeClustering
from study import add_rows, b_cubed, embedded, known_rows, print_rows, train_run
from study import run as run_study

from reid_toolkit.camera_statistics import fit_camera_statistics
from reid_toolkit.datasets.manifest import read_identities, read_manifest
from reid_toolkit.demo.day import Day, draw_day
from reid_toolkit.errors import InputError
from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.images import read_image
from reid_toolkit.people.book import Book
from reid_toolkit.people.least_times import read_least_times, write_least_times
from reid_toolkit.people.review import questions
from reid_toolkit.people.update import update
from reid_toolkit.people.visits import routes_of
from reid_toolkit.recipe_files import load_recipe
from reid_toolkit.records import Record
from reid_toolkit.runtime import Embedder
from reid_toolkit.training.run_folder import RunFolder

HOUR = 3600.0
ANSWERS, AT_ONCE = 100, 20
THRESHOLDS = np.arange(0.1, 1.8, 0.02)
"""Distances that the peers try."""


@dataclass(frozen=True)
class Case:
    """Records whose people are known."""

    name: str
    vectors: NDArray[np.float32]
    """(N, D), unit rows, as a gallery stores them."""
    records: list[Record]
    truth: NDArray[np.str_]
    dated: bool

    def compared(self) -> NDArray[np.float32]:
        """The descriptors as a gallery compares them."""
        cameras = [record.camera for record in self.records]
        statistics = fit_camera_statistics(self.vectors, cameras, [record.tracklet for record in self.records])
        return statistics.apply(self.vectors, cameras) if statistics else self.vectors


def scores(labels: Sequence[int] | NDArray[np.int64], truth: NDArray[np.str_]) -> dict[str, Any]:
    """B-cubed precision, recall and F (Bagga and Baldwin, 1998), F over pairs of records, and the number of groups."""
    group, person = (np.unique(values, return_inverse=True)[1] for values in (labels, truth))
    shared = np.zeros((group.max() + 1, person.max() + 1))
    np.add.at(shared, (group, person), 1)
    sizes, people = shared.sum(axis=1), shared.sum(axis=0)
    precision, recall = b_cubed(group, person)
    together, made, real = ((x * (x - 1) / 2).sum() for x in (shared, sizes, people))
    return {
        "b-cubed F": 2 * precision * recall / (precision + recall), "precision": precision, "recall": recall,
        "pairwise F": float(2 * together / (made + real)), "people": len(sizes), "truth": len(people),
    }  # fmt: skip


def rows_of(case: Case) -> Iterator[dict[str, Any]]:
    """Measure a case in every way."""
    with tempfile.TemporaryDirectory() as folder, Gallery.open(Path(folder) / "g") as gallery:
        gallery.add(case.vectors, case.records)
        gallery.refresh_statistics()
        done = update(gallery)
        found = scores(labels_of(case, gallery), case.truth)
        yield row(case, "reid people", found, low=done.low, high=done.high)
        yield from after_answers(case, gallery, found["pairwise F"])
    if case.dated:
        yield row(case, "reid people, with least times", scores(with_least_times(case), case.truth))
        yield row(case, "reid people, hour by hour", scores(hour_by_hour(case), case.truth))
    distances = np.sqrt(np.maximum(2 - 2 * (case.compared() @ case.compared().T), 0))
    np.fill_diagonal(distances, 0)
    components = [scores(connected_components(distances < limit)[1], case.truth) for limit in THRESHOLDS]
    yield row(case, "nearest neighbours under the best distance", max(components, key=lambda one: one["b-cubed F"]))
    clusters = [
        scores(
            AgglomerativeClustering(
                None, metric="precomputed", linkage="average", distance_threshold=limit
            ).fit_predict(distances),
            case.truth,
        )
        for limit in THRESHOLDS
    ]
    yield row(case, "agglomerative at the best distance", max(clusters, key=lambda one: one["b-cubed F"]))


def after_answers(case: Case, gallery: Gallery, before: float) -> Iterator[dict[str, Any]]:
    """Answer the first questions by the truth, and measure again. ``before`` is F over pairs without answers."""
    person = {key_digest(record): who for record, who in zip(case.records, case.truth, strict=True)}
    answered = 0
    while answered < ANSWERS:
        asked = questions(Book(gallery, "gallery", time.time()), AT_ONCE)
        for one in asked:
            book = Book(gallery, "gallery", time.time())
            kind = "same" if person[one.first] == person[one.second] else "different"
            try:
                book.say(kind, book.called[one.first], book.called[one.second], "study")
            except InputError:  # an answer of this round has said so already
                continue
        update(gallery)
        answered += len(asked)
        no_more = len(asked) < AT_ONCE
        if asked and (no_more or answered in (AT_ONCE, ANSWERS)):
            found = scores(labels_of(case, gallery), case.truth)
            gained = (found["pairwise F"] - before) * 100 / answered
            yield row(case, f"reid people, after {answered} answers", found, gained=gained)
        if no_more:
            break


def with_least_times(case: Case) -> list[int]:
    """Group twice: the second time with the times that `reid people routes --out` learns from the first."""
    with tempfile.TemporaryDirectory() as folder, Gallery.open(Path(folder) / "g") as gallery:
        gallery.add(case.vectors, case.records)
        gallery.refresh_statistics()
        update(gallery)
        book = Book(gallery, "gallery", time.time())
        people = {person: book.records_of(person) for person in book.by_person}
        draft = Path(folder) / "least.csv"
        write_least_times(draft, routes_of(people, direct=False))
        update(gallery, anew=True, least_times=read_least_times(draft))
        return labels_of(case, gallery)


def hour_by_hour(case: Case) -> list[int]:
    """Enroll and group the records in the order of time, an hour at a time."""
    starts = np.array([record.start for record in case.records], np.float64)
    hours = ((starts - starts.min()) // HOUR).astype(int)
    with tempfile.TemporaryDirectory() as folder, Gallery.open(Path(folder) / "g") as gallery:
        for hour in np.unique(hours):
            rows = np.flatnonzero(hours == hour)
            gallery.add(case.vectors[rows], [case.records[at] for at in rows])
            gallery.refresh_statistics(if_due=True)
            update(gallery)
        return labels_of(case, gallery)


def labels_of(case: Case, gallery: Gallery) -> list[int]:
    members = gallery.people.read().members
    return [members[key_digest(record)].person for record in case.records]


def row(
    case: Case, way: str, found: dict[str, Any], *, low: int | None = None, high: int | None = None,
    gained: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    ends = {"low": low, "high": high, "pairwise F per 100 answers": gained}
    return {"case": case.name, "way": way, **found, **ends}


def drawn_day(days: Path, runs: Path, seed: int, people: int) -> Case:
    """A drawn day, described by a network that was trained on it without labels."""
    folder = days / f"day-{seed}"
    if not (folder / "identities.csv").exists():
        draw_day(folder, Day(people=people, seed=seed))
    run = runs / f"day-{seed}"
    train_run(folder, load_recipe("demo_rounds"), run)
    found = embedded(RunFolder(run), "last", read_manifest(folder))
    identities = read_identities(folder / "identities.csv")
    records = [Record(one.name, one.camera, one.start, one.end, str(folder.resolve())) for one in found.tracklets]
    truth = np.array([identities[one.name] for one in found.tracklets])
    return Case(f"drawn day, seed {seed}", np.asarray(found.descriptors, np.float32), records, truth, dated=True)


def real_people(pictures: Path, model: Path) -> Case:
    """CUHK03's crops, each a record of its own, without times."""
    files = sorted(pictures.glob("*.jpg")) + sorted(pictures.glob("*.png"))
    embedder = Embedder(model)
    parts = [embedder.embed([read_image(file) for file in files[at : at + 32]]) for at in range(0, len(files), 32)]
    cameras = [camera_of(file) for file in files]
    records = [Record(file.stem, camera, source="pictures") for file, camera in zip(files, cameras, strict=True)]
    truth = np.array([file.stem.split("_")[0] for file in files])
    return Case(f"CUHK03 validation, {model.stem}", np.concatenate(parts), records, truth, dated=False)


def main(options: argparse.Namespace) -> None:
    """Measure all cases that are not in the JSON yet."""
    done = {one["case"] for one in known_rows(options.json)}

    def cases() -> Iterator[Case]:
        for seed in options.seeds:
            if f"drawn day, seed {seed}" not in done:
                yield drawn_day(options.days, options.runs, seed, options.people)
        for model in options.model if options.pictures else ():
            if f"CUHK03 validation, {model.stem}" not in done:
                yield real_people(options.pictures, model)

    for case in cases():
        add_rows(options.json, list(rows_of(case)), ("case", "way"), people=options.people)
    print_rows(known_rows(options.json))


def parse() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=Path, required=True, help="folder of the drawn days")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs; unfinished ones go on")
    parser.add_argument(
        "--seeds", type=int, nargs="*", default=[3, 4, 5], help="drawn days; the settings were found with seeds 0 to 2"
    )
    parser.add_argument("--people", type=int, default=40, help="people of each drawn day")
    parser.add_argument("--pictures", type=Path, help="CUHK03's folder val")
    parser.add_argument("--model", type=Path, nargs="*", default=[], help="ONNX models for --pictures")
    parser.add_argument("--json", type=Path, required=True)
    return parser


if __name__ == "__main__":
    run_study(main, parse())
