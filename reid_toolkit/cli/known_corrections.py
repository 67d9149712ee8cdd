"""The option --corrections of `reid train` and `reid calibrate`: what a gallery's users said about a dataset."""

import time
from typing import TYPE_CHECKING

import click

from reid_toolkit.cli.console import counted, log, warn

if TYPE_CHECKING:
    from reid_toolkit.datasets import Dataset
    from reid_toolkit.datasets.known_pairs import KnownPairs

corrections_option = click.option(
    "--corrections",
    metavar="GALLERY",
    help="Obey the corrections of a gallery that was enrolled from DATASET (`reid people same` and `not`).",
)


def corrections_of(gallery: str, dataset: "Dataset") -> "KnownPairs":
    """The corrections of a gallery about this dataset. Says how many there are, and warns if there are none."""
    from reid_toolkit.gallery import open_gallery
    from reid_toolkit.people.book import Book
    from reid_toolkit.people.known_pairs import known_pairs

    if gallery == "":  # Path("") is the working directory
        raise click.BadParameter("'': expected the folder of a gallery", param_hint="--corrections")
    with open_gallery(gallery, create=False) as store:
        found = known_pairs(Book(store, gallery, time.time()), dataset)
    if not found.used + found.others:
        warn(f"{gallery}: has no corrections, so none are used")
    elif not found.used:
        warn(
            f"{gallery}: none of its {counted(found.others, 'correction')} is about tracklets of {dataset.root}, so "
            "none are used: expected a gallery that was enrolled from this dataset"
        )
    else:
        same, different = len(found.pairs.same), len(found.pairs.different)
        rest = f"; {counted(found.others, 'correction')} about other records left out" if found.others else ""
        log.print(
            f"{gallery}: {counted(found.used, 'correction')} about tracklets of {dataset.root}: "
            f"{counted(same, 'pair')} of one person, {different} of two{rest}",
            markup=False,
            soft_wrap=True,
        )
    return found.pairs
