"""``reid calibrate``: which distance is the same person, from tracklets alone."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.console import print_json, printable, progress_bar, warn, warn_bad
from reid_toolkit.cli.options import refuse_unwritable
from reid_toolkit.errors import GalleryError, InputError

if TYPE_CHECKING:
    from reid_toolkit.calibration import Calibration
    from reid_toolkit.calibration.curve import Curve
    from reid_toolkit.camera_statistics import CameraStatistics
    from reid_toolkit.runtime import Embedder

RATES = (0.05, 0.01, 0.001)
"""False-match rates whose distances are shown."""


@click.command()
@click.argument("dataset", type=options.FOLDER)
@options.model_option
@click.option(
    "--run", type=options.FOLDER, help="The run trained on DATASET: its clusters are evidence across cameras."
)
@click.option(
    "--gallery",
    metavar="WHERE",
    help="The gallery to be searched: calibrate distances as it compares, with its camera statistics.",
)
@click.option("--out", type=options.FILE, help="Where to write it. [default: beside the model, MODEL.calibration.json]")
@click.option("--anyway", is_flag=True, help="Calibrate on the footage that the model was trained on.")
@options.skip_bad
@options.batch_size
@options.json_output
def command(
    dataset: Path,
    model: Path,
    run: Path | None,
    gallery: str | None,
    out: Path | None,
    anyway: bool,
    skip_bad: bool,
    batch_size: int,
    as_json: bool,
) -> None:
    """Learn from DATASET's tracklets, without labels, how likely a distance is one person.

    DATASET is footage that the model was not trained on: training has seen to it that its own people are told apart.

    One person: the two halves of a tracklet. Two people: tracklets seen at once in one camera. Across cameras:
    tracklets that are each other's nearest, or with --run what its clusters say. `reid search` finds the result
    beside the model. If the gallery has camera statistics, name it with --gallery, and calibrate again whenever they
    were fitted again.
    """
    from reid_toolkit.calibration import beside
    from reid_toolkit.calibration.measure import measure
    from reid_toolkit.datasets import open_dataset
    from reid_toolkit.footage.changes import fingerprints_before
    from reid_toolkit.runtime import Embedder

    if gallery == "":  # which would be the working directory
        raise click.BadParameter("'': expected a gallery's folder or address", param_hint="--gallery")
    out = out or beside(model)
    if out.resolve() == model.resolve():
        raise InputError(f"{out}: is the model itself: expected another file for the calibration")
    refuse_unwritable(out)
    embedder = Embedder(model, batch_size=batch_size)
    held = open_dataset(dataset)
    if embedder.metadata.dataset in {held.fingerprint, *fingerprints_before(dataset)}:
        why = (
            f"{dataset}: {model} was trained on it, so it tells too little of other people: strangers would pass up to "
            "twenty times as often as said"
        )
        if not anyway:
            raise InputError(f"{why}; calibrate on footage of another day, or give --anyway")
        warn(why)
    statistics = None if gallery is None else statistics_of(gallery, embedder)
    strange = [camera for camera in held.cameras if statistics and not statistics.knows(camera)]
    if strange:
        warn(
            f"{gallery} has no statistics of {listed(strange)}: what these cameras show is compared by the statistics "
            "of all cameras"
        )
    bad: list[str] | None = [] if skip_bad else None
    with progress_bar("calibrate", "tracklets") as on_progress:
        calibration = measure(embedder, held, run, statistics=statistics, bad=bad, on_progress=on_progress)
    warn_bad(bad)
    calibration.save(out)
    if as_json:
        print_json({"calibration": str(out), **as_dict(calibration)})
    else:
        print_table(calibration)
        click.echo(f"{out}: {calibration.tracklets} tracklets of {len(held.cameras)} cameras")
    if calibration.across is None and len(held.cameras) > 1:
        warn(
            "too little is known across cameras: between two of them, probabilities rest on evidence within one, and "
            "are too low; calibrate on more footage"
        )


def statistics_of(gallery: str, embedder: "Embedder") -> "CameraStatistics | None":
    """The camera statistics that searches of a gallery use, which must be of this model."""
    from reid_toolkit.gallery import open_gallery

    with open_gallery(gallery, create=False) as store:
        statistics = store.statistics()
    if statistics is None:
        warn(
            f"{gallery} has no camera statistics yet: the calibration is for descriptors as they are; calibrate again "
            "when `reid enroll` has fitted some"
        )
    elif statistics.dimension != embedder.dimension or statistics.model not in (None, embedder.fingerprint):
        raise GalleryError(
            f"{gallery}: holds descriptors of model {statistics.model}, got model {embedder.fingerprint}: calibrate "
            "with the model it was enrolled with"
        )
    return statistics


def listed(names: Sequence[str]) -> str:
    """The first few of some names, for a message."""
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def rows_of(calibration: "Calibration") -> "list[tuple[str, Curve]]":
    pooled = [("one camera", calibration.within), ("two cameras", calibration.across)]
    own = [(" – ".join(dict.fromkeys(pair)) or "(no name)", curve) for pair, curve in calibration.pairs.items()]
    return [(name, curve) for name, curve in pooled if curve] + own


def print_table(calibration: "Calibration") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("cameras", "one person", "two people", "as likely", *(f"{rate:.1%}" for rate in RATES), box=None)
    for name, curve in rows_of(calibration):
        limits = [curve.threshold(rate) for rate in RATES]
        cells = ["too few" if limit is None else f"{limit:.3f}" for limit in limits]
        table.add_row(Text(printable(name)), str(curve.same), str(curve.different), f"{curve.even:.3f}", *cells)
    Console(highlight=False).print(table)


def as_dict(calibration: "Calibration") -> dict[str, object]:
    """As the file has it, with the distances of some false-match rates in place of all quantiles."""

    def one(curve: "Curve | None") -> dict[str, object] | None:
        if curve is None:
            return None
        table = {key: value for key, value in asdict(curve).items() if key not in ("ranks", "quantiles")}
        return {**table, "even": curve.even, "thresholds": {f"{rate:g}": curve.threshold(rate) for rate in RATES}}

    return {
        "model": calibration.model,
        "dataset": calibration.dataset,
        "tracklets": calibration.tracklets,
        "links": calibration.links,
        "per_person": calibration.per_person,
        "camera_statistics": calibration.statistics,
        "within": one(calibration.within),
        "across": one(calibration.across),
        "pairs": [{"cameras": list(pair), **(one(curve) or {})} for pair, curve in calibration.pairs.items()],
    }
