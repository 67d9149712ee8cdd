"""``reid search --detect``: find the people in a picture, and search for one of them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.console import warn
from reid_toolkit.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from reid_toolkit.footage.detector import Detector
    from reid_toolkit.images import Image

LEAST_SCORE = 0.5
"""Boxes with a lower score are left out: they often show nobody, or half a person."""
MARGIN = 0.05
"""Boxes are widened by this fraction, as `reid ingest` does by default."""


class Person(NamedTuple):
    """A person that the detector found."""

    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the picture."""
    score: float
    crop: "Image"

    @property
    def words(self) -> str:
        """The size, place and score of the person, as text."""
        x1, y1, x2, y2 = self.box
        return f"{x2 - x1:.0f} x {y2 - y1:.0f} pixels at x {x1:.0f}, y {y1:.0f} (score {self.score:.2f})"


OPTIONS = (
    click.option("--detect", is_flag=True, help="QUERY is a picture of a scene: find its people, and search for one."),
    click.option(
        "--person", type=click.IntRange(1), metavar="N", help="With --detect: search for the Nth person from the left."
    ),
    click.option(
        "--detector",
        type=options.DETECTOR,
        help="With --detect: torchvision, a detector file (ONNX or OpenVINO .xml), or a name from `reid models`.  "
        "[default: torchvision]",
    ),
    click.option(
        "--detector-weights", type=options.FILE, help="For torchvision: a state dict to load instead of a download."
    ),
    options.PERSON_LABEL,
)


detect_options = options.together(OPTIONS)
"""The options of a search for a person in a picture."""


def choose_person(
    path: Path, detector: str, weights: Path | None, label: int | None, number: int | None
) -> tuple[int, Person]:
    """The person in a picture to search for, and the number of that person from the left.

    If ``number`` is None and the picture shows several people, the user is asked.

    Raises:
        InputError: nobody is found, or fewer than ``number``; or several are found and nobody can answer.
    """
    from reid_toolkit.footage.detector import load_detector
    from reid_toolkit.images import read_image

    if detector == "motion":
        raise InputError("--detector motion: needs video, because it sees only people who move: choose another one")
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {what}: --detect expects a picture")
    try:
        people = find_people(read_image(path), load_detector(detector, weights, person_label=label))
    except MissingDependencyError:
        raise
    except ImportError as error:
        raise MissingDependencyError(
            f"--detect needs {error.name}, which is not installed; or give --detector the path of an ONNX file"
        ) from None
    if not people:
        raise InputError(f"{path}: no person was found in it: give a crop of one person, or another --detector")
    if number is None:
        number = 1 if len(people) == 1 else ask(path, people)
    if number > len(people):
        raise InputError(f"{path}: --person {number}: only {len(people)} people were found{listed(people)}")
    return number, people[number - 1]


def find_people(picture: "Image", detector: "Detector") -> list[Person]:
    """The people in a picture, from left to right."""
    from reid_toolkit.footage.crops import cut

    detector.start(1.0)
    boxes, scores = detector(picture)
    found = []
    for box, score in zip(boxes, scores, strict=True):
        crop = cut(picture, box, MARGIN)
        if score >= LEAST_SCORE and crop is not None:
            x1, y1, x2, y2 = (float(value) for value in box)
            found.append(Person((x1, y1, x2, y2), float(score), crop))
    return sorted(found, key=lambda person: person.box[0] + person.box[2])


def listed(people: list[Person]) -> str:
    return "".join(f"; {number}: {person.words}" for number, person in enumerate(people, start=1))


def ask(path: Path, people: list[Person]) -> int:
    """Ask the user for the number of a person. Raises :class:`InputError` if stdin is not a terminal."""
    if not sys.stdin.isatty():
        raise InputError(
            f"{path}: {len(people)} people were found: choose one with --person N, from the left{listed(people)}"
        )
    for number, person in enumerate(people, start=1):
        click.echo(f"{number}: {person.words}", err=True)
    return int(click.prompt("number of the person", type=click.IntRange(1, len(people)), err=True))


def doubt_shapes(path: Path, pictures: "list[Image]") -> None:
    """Warn if most pictures of a query have the shape of a whole frame, not of a crop of one person."""
    from reid_toolkit.datasets.oddities import has_odd_shape

    odd = [picture.shape for picture in pictures if has_odd_shape(picture.shape[1], picture.shape[0])]
    if 2 * len(odd) > len(pictures):
        height, width, _ = odd[0]
        warn(
            f"{path}: {width} x {height} pixels look like no crop of one person, so matches mean little: give --detect "
            "to find the people in a picture"
        )
