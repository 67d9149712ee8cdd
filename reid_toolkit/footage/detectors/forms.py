"""What the answers of detectors mean: the contract of a form, and what forms share."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import ModelError
from reid_toolkit.footage.detectors.running import Arrays, Classes

Floats = NDArray[np.float32]

LEAST_SCORE = 0.1
"""Poorer boxes do not help the tracker (ByteTrack's own threshold)."""
PERSON_NAMES = ("person", "pedestrian", "people")
PERSON_AMONG = {20: 14, 80: 0, 90: 0}
"""The place of "person" among the classes of Pascal VOC and of COCO, by how many there are."""
MOST_FRACTION = 8
"""A box that ends so many frames away was not meant as a fraction of the frame."""


class Form(Protocol):
    """How one kind of graph is fed and read."""

    family: str
    """Goes into the detector's name."""
    letterboxed: bool
    """Whether a frame keeps its shape in the input; else it is stretched."""
    rgb: bool
    """Whether pixels are RGB of 0-1; else BGR of 0-255."""
    person: int | None
    """The label of a person where neither the user nor the file says it; None where it must be said."""
    labels: int | None
    """How many there can be, from 0; None where that is not seen."""

    def people(self, outputs: Arrays, person: int | None) -> tuple[Floats, Floats]:
        """Boxes (N, 4) x1 y1 x2 y2 in pixels of the graph's input, and scores (N,): those of LEAST_SCORE and more that
        have the label ``person``, or any where that is None.

        Raises ModelError, without the file's name, for answers that cannot be.
        """


def shapes(outputs: Arrays) -> list[tuple[int, ...]]:
    return [output.shape for output in outputs.values()]


def in_full(outputs: Arrays) -> Arrays:
    """Half precision becomes float32, so that nothing is lost in what is done to it."""
    return {name: value.astype(np.float32) if value.dtype == np.float16 else value for name, value in outputs.items()}


def strong(scores: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which scores are LEAST_SCORE or more. Raises ModelError where they are none."""
    if np.isnan(scores).any():
        raise ModelError("gives scores that are no numbers: the file is damaged, or it overflows in its precision")
    if scores.size and scores.max() > 1.001:
        raise ModelError(f"gives scores of up to {scores.max():.4g}: expected 0 to 1")
    return np.asarray(scores >= LEAST_SCORE)


def labelled(labels: NDArray[np.generic], person: int | None) -> NDArray[np.bool_]:
    """Which labels, whole numbers of any type, are a person's."""
    return np.ones(labels.shape, bool) if person is None else np.asarray(labels == person)


def in_pixels(boxes: NDArray[np.floating], height: int, width: int) -> Floats:
    """Boxes in fractions of the input. Raises ModelError where they are none."""
    if boxes.size and np.abs(boxes).max() > MOST_FRACTION:
        raise ModelError(f"gives boxes of up to {np.abs(boxes).max():.4g}: expected fractions of the picture")
    return np.asarray(boxes * np.array([width, height] * 2, np.float32), np.float32)


def label_of_person(asked: int | None, classes: Classes, form: Form) -> int | None:
    """The label that people have in a file; None where everything it finds is a person.

    ``asked`` is what the user says. Raises ModelError, without the file's name, where it cannot be told.
    """
    first, total = (classes.first, classes.total) if classes.total is not None else (0, form.labels)
    there = f"has the labels {first} to {first + total - 1}" if total is not None else ""
    if asked is not None:
        if total is not None and not first <= asked < first + total:
            raise ModelError(f"--person-label {asked}: the file {there}")
        return asked
    if classes.names:
        named = [place for place, name in enumerate(classes.names) if name.lower() in PERSON_NAMES]
        if len(named) != 1 or (total is not None and named[0] >= total):
            shown = ", ".join(classes.names[:10])
            raise ModelError(f"names its classes {shown}: expected one of them to be person: or give --person-label")
        return named[0]
    if classes.total == 1:
        return None
    if classes.total in PERSON_AMONG:
        return first + PERSON_AMONG[classes.total]
    if form.person is None:
        what = there or "does not say what its labels mean"
        raise ModelError(f"{what}: say which one is a person, as its description has it: --person-label N")
    return form.person
