"""``reid calibrate``: learn from tracklets, without labels, how likely a distance means the same person."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.console import counted, print_json, progress_bar, warn, warn_bad
from reid_toolkit.cli.known_corrections import corrections_of, corrections_option
from reid_toolkit.cli.paths import CALIBRATION_FILE
from reid_toolkit.cli.tables import print_table
from reid_toolkit.errors import GalleryError, InputError

if TYPE_CHECKING:
    from reid_toolkit.calibration import Calibration
    from reid_toolkit.calibration.curve import Curve
    from reid_toolkit.camera_statistics import CameraStatistics
    from reid_toolkit.runtime import Embedder

RATES = (0.05, 0.01, 0.001)
"""False-match rates. The table shows the distance of each."""


@click.command()
@click.argument("dataset", type=options.FOLDER)
@options.model_option
@click.option(
    "--run",
    type=options.FOLDER,
    help="The run that was trained on DATASET: its clusters say who is the same person across cameras.",
)
@click.option(
    "--gallery",
    metavar="WHERE",
    help="The gallery that you will search: calibrate distances with its camera statistics.",
)
@corrections_option
@click.option(
    "--out", type=CALIBRATION_FILE, help="The file to write. [default: MODEL.calibration.json, beside the model]"
)
@click.option("--anyway", is_flag=True, help="Calibrate even on the footage that the model was trained on.")
@options.skip_bad
@options.batch_size
@options.json_output
def command(
    dataset: Path,
    model: Path,
    run: Path | None,
    gallery: str | None,
    corrections: str | None,
    out: Path | None,
    anyway: bool,
    skip_bad: bool,
    batch_size: int,
    as_json: bool,
) -> None:
    """Learn from DATASET's tracklets, without labels, how likely a distance means the same person.

    DATASET must be footage that the model was not trained on: the people of its training footage are too easy for it.

    The two halves of a tracklet show the same person. Two tracklets at the same time in one camera show different
    people. Across cameras, tracklets that are each other's nearest count as the same person, or with --run those of
    one cluster. `reid search` finds the result beside the model. If the gallery has camera statistics, name it with
    --gallery, and calibrate again whenever the statistics are fitted again.
    """
    from reid_toolkit.calibration import beside
    from reid_toolkit.calibration.measure import measure
    from reid_toolkit.datasets import open_dataset
    from reid_toolkit.datasets.known_pairs import NO_PAIRS
    from reid_toolkit.footage.changes import fingerprints_before
    from reid_toolkit.runtime import Embedder

    if gallery == "":  # Path("") is the working directory
        raise click.BadParameter("'': expected the folder or address of a gallery", param_hint="--gallery")
    out = out or beside(model)
    CALIBRATION_FILE.refuse(out)
    embedder = Embedder(model, batch_size=batch_size)
    held = open_dataset(dataset)
    if embedder.metadata.dataset in {held.fingerprint, *fingerprints_before(dataset)}:
        why = (
            f"{dataset}: {model} was trained on it and tells its people apart too well: other people would be taken "
            "for the same person up to twenty times as often as the calibration says"
        )
        if not anyway:
            raise InputError(f"{why}: calibrate on footage of another day, or give --anyway")
        warn(why)
    statistics = None if gallery is None else statistics_of(gallery, embedder)
    strange = [camera for camera in held.cameras if statistics and not statistics.knows(camera)]
    if strange:
        warn(
            f"{gallery} has no statistics of {listed(strange)}: descriptors from these cameras are compared with the "
            "statistics of all cameras"
        )
    known = NO_PAIRS if corrections is None else corrections_of(corrections, held)
    bad: list[str] | None = [] if skip_bad else None
    with progress_bar("calibrate", "tracklets") as on_progress:
        calibration = measure(embedder, held, run, statistics=statistics, known=known, bad=bad, on_progress=on_progress)
    warn_bad(bad)
    calibration.save(out)
    if as_json:
        print_json({"calibration": str(out), **as_dict(calibration)})
    else:
        show_table(calibration)
        click.echo(f"{out}: {counted(calibration.tracklets, 'tracklet')} of {counted(len(held.cameras), 'camera')}")
    if calibration.across is None and len(held.cameras) > 1:
        warn(
            "there is too little evidence across cameras: probabilities between two cameras use the evidence within "
            "one camera, and are too low: calibrate on more footage"
        )


def statistics_of(gallery: str, embedder: "Embedder") -> "CameraStatistics | None":
    """The camera statistics of a gallery. None, with a warning, if it has none.

    Raises :class:`GalleryError` if they belong to another model.
    """
    from reid_toolkit.gallery import open_gallery

    with open_gallery(gallery, create=False) as store:
        statistics = store.statistics()
    if statistics is None:
        warn(
            f"{gallery} has no camera statistics yet: this calibration is for searches without them; calibrate again "
            "when `reid enroll` has fitted them"
        )
    elif statistics.dimension != embedder.dimension or statistics.model not in (None, embedder.fingerprint):
        raise GalleryError(
            f"{gallery}: holds descriptors of model {statistics.model}, got model {embedder.fingerprint}: calibrate "
            "with the model that the gallery was enrolled with"
        )
    return statistics


def listed(names: Sequence[str]) -> str:
    """The first five names as text, and how many more there are."""
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def rows_of(calibration: "Calibration") -> "list[tuple[str, Curve]]":
    pooled = [("one camera", calibration.within), ("two cameras", calibration.across)]
    own = [(" – ".join(dict.fromkeys(pair)) or "(no name)", curve) for pair, curve in calibration.pairs.items()]
    return [(name, curve) for name, curve in pooled if curve] + own


def show_table(calibration: "Calibration") -> None:
    table: list[tuple[object, ...]] = []
    doubtful = False
    for name, curve in rows_of(calibration):
        limits = [(curve.threshold(rate), "?" if calibration.doubt(rate) else "") for rate in RATES]
        cells = ["too few" if limit is None else f"{limit:.3f}{mark}" for limit, mark in limits]
        doubtful |= any(limit is not None and mark for limit, mark in limits)
        table.append((name, curve.same, curve.different, f"{curve.break_even:.3f}", *cells))
    header = ("cameras", "one person", "two people", "as likely", *(f"{rate:.1%}" for rate in RATES))
    print_table(header, table, fold={"cameras"})
    if doubtful:
        click.echo(
            f"?: uncertain: only {counted(calibration.people_pairs or 0, 'pair')} of people were seen at once, so the "
            "rate may be several times as high"
        )


def as_dict(calibration: "Calibration") -> dict[str, object]:
    """The calibration as JSON, with the distances of some false-match rates instead of all quantiles."""

    def one(curve: "Curve | None") -> dict[str, object] | None:
        if curve is None:
            return None
        table = {key: value for key, value in asdict(curve).items() if key not in ("ranks", "quantiles")}
        return {**table, "even": curve.break_even, "thresholds": {f"{rate:g}": curve.threshold(rate) for rate in RATES}}

    return {
        "model": calibration.model,
        "dataset": calibration.dataset,
        "tracklets": calibration.tracklets,
        "links": calibration.links,
        "per_person": calibration.per_person,
        "camera_statistics": calibration.statistics,
        "corrections": calibration.corrections,
        "people_pairs": calibration.people_pairs,
        "within": one(calibration.within),
        "across": one(calibration.across),
        "pairs": [{"cameras": list(pair), **(one(curve) or {})} for pair, curve in calibration.pairs.items()],
    }
