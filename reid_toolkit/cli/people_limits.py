"""The limits that a calibration gives to the grouping of people, for all commands of `reid people` that group."""

from pathlib import Path
from typing import TYPE_CHECKING

from reid_toolkit.cli.console import warn
from reid_toolkit.errors import InputError, ModelError

if TYPE_CHECKING:
    from reid_toolkit.calibration import Calibration
    from reid_toolkit.gallery import GalleryStore
    from reid_toolkit.gallery.people_table import People
    from reid_toolkit.people.reach import Farthest

RATE = 0.005
"""Default of --false-match-rate."""


def limit_of(
    store: "GalleryStore", people: "People", path: Path | None = None, rate: float | None = None
) -> "Farthest | None":
    """The largest distances of neighbours by the calibration in ``path``, or beside the gallery's model.

    Without a ``rate``, the rate that ``people``, those of the gallery, have stored is taken. None if there is no
    calibration. A calibration that does not fit is refused if it was asked for; else a warning says so.
    """
    from reid_toolkit.calibration import beside

    model = store.model_file
    found = path or (beside(model) if model else None)
    wanted = path is not None or rate is not None
    if found is None or not found.exists():
        if wanted:
            raise ModelError(f"{found or store.info().path}: no calibration: make one with `reid calibrate`")
        return None
    held = store.info()
    try:
        calibration = fitting_calibration(store, found, held.model or "")
        chosen = rate or people.false_match_rate or RATE
        known = limits(calibration, list(held.cameras), chosen)
        if wanted and (doubt := calibration.doubt(chosen)):
            warn(doubt)
        return known
    except (ModelError, InputError) as error:
        if wanted:
            raise
        warn(f"the calibration is not used: {error}")
        return None


def fitting_calibration(store: "GalleryStore", path: Path, model: str) -> "Calibration":
    """Read the calibration of the model with this fingerprint. Raises :class:`ModelError` if it is damaged, of another
    model, or made for other camera statistics than the gallery's."""
    from reid_toolkit.calibration import load_calibration

    calibration, statistics = load_calibration(path, model), store.statistics()
    if misfit := calibration.misfit(statistics.digest if statistics else None):
        raise ModelError(f"{path}: {misfit}: run `reid calibrate DATASET --model MODEL --gallery GALLERY`")
    return calibration


def limits(calibration: "Calibration", cameras: list[str], rate: float) -> "Farthest":
    """The distance for each pair of cameras, all computed now, so that too little evidence is said before any work."""
    known: list[str | None] = [camera or None for camera in cameras]
    table = {(a, b): calibration.threshold(rate, a, b or "") for a in known for b in known}
    return lambda a, b: table[a, b]
