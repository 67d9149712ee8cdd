"""The options of ``reid watch`` about the people of the gallery and the watch list, and what they switch on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.console import counted, log, printable, warn
from reid_toolkit.cli.people_limits import RATE, fitting_calibration
from reid_toolkit.errors import InputError, ModelError

if TYPE_CHECKING:
    from reid_toolkit.calibration import Calibration
    from reid_toolkit.gallery.base import GalleryStore
    from reid_toolkit.live.announcer import Announcer
    from reid_toolkit.people.scale import Scale
    from reid_toolkit.runtime import Embedder

LONGEST_REASON = 1000
"""Characters."""

OPTIONS = (
    click.option(
        "--people/--no-people",
        default=None,
        help="Events name the people of the gallery, which `reid people` has grouped.  [default: if it has people]",
    ),
    click.option(
        "--alert",
        "alerts",
        multiple=True,
        metavar="PERSON",
        help="Send an event `alert` when this person of the gallery is recognised; repeat it for several.",
    ),
    click.option(
        "--alert-reason",
        "reason",
        metavar="TEXT",
        help="Why there are alerts. The gallery's audit log keeps it.",
    ),
)

recognition_options = options.together(OPTIONS)
"""The options about people and alerts."""


def check_recognition(events: Sequence[str], people: bool | None, alerts: Sequence[str], reason: str | None) -> None:
    """Raise :class:`InputError` for options that contradict each other."""
    if alerts and not (reason or "").strip():
        raise InputError("--alert needs --alert-reason TEXT: say why these people are watched for")
    if reason is not None and not alerts:
        raise InputError("--alert-reason is about alerts: give --alert too, or leave --alert-reason out")
    if reason is not None and (len(reason) > LONGEST_REASON or not reason.isprintable()):
        raise InputError(f"--alert-reason: expected at most {LONGEST_REASON:,} printable characters on one line")
    if alerts and people is False:
        raise InputError("--alert needs the people of the gallery: leave --no-people out")
    if not events and (people or alerts):
        option = "--alert" if alerts else "--people"
        raise InputError(f"{option} is about events: give --events too, or leave {option} out")


def recognise_people(
    announcer: "Announcer | None",
    store: "GalleryStore",
    gallery: str,
    embedder: "Embedder",
    cameras: Sequence[str],
    people: bool | None,
    alerts: Sequence[str],
    reason: str | None,
) -> None:
    """Give the announcer a recogniser, if that is asked for, or if the gallery has people. Says what is done.

    Raises :class:`InputError` for an unknown person.
    """
    if announcer is None or people is False:
        return
    from reid_toolkit.people.recogniser import PeopleRecogniser

    table = store.people
    if not (people or alerts or table.read().members):
        tell(f"{gallery}: has no people yet, so events name none: see `reid people`")
        return
    recogniser = PeopleRecogniser(store, gallery, scale=lambda: calibrated_scale(store, embedder), watched=alerts)
    announcer.recogniser = recogniser
    whom = counted(recogniser.people, "person") if recogniser.people == 1 else f"{recogniser.people:,} people"
    later = "" if recogniser.people else ": run `reid people` beside the watch"
    tell(f"{gallery}: events name its {whom}{later}")
    if alerts:
        event = {"action": "watch list", "people": list(alerts), "cameras": list(cameras), "reason": reason}
        if not table.note(event):
            warn(
                f"{gallery}: a gallery in Milvus has no audit log, so the reason of the alerts is not kept"
                if "://" in gallery
                else f"{gallery}: the audit log is off, so it does not keep the reason of the alerts: switch it on "
                f"with `reid gallery audit {gallery} on`"
            )


def tell(message: str) -> None:
    """Say something on stderr that is no warning."""
    log.print(printable(message), markup=False, soft_wrap=True)


def calibrated_scale(store: "GalleryStore", embedder: "Embedder") -> "Scale | None":
    """What distances mean by the calibration beside the model. None without one. Warns about one that does not fit."""
    from reid_toolkit.calibration import beside
    from reid_toolkit.people.scale import Scale, estimate_scale

    path = beside(embedder.path)
    if not path.exists():
        return None
    try:
        found = fitting_calibration(store, path, embedder.fingerprint)
    except ModelError as error:
        warn(f"the calibration is not used: {error}")
        return None

    def probability(distance: float, query: str | None, record: str, people: int) -> float:
        return found.probability(distance, query, record, found.base_rate(len(store), people))[0]

    if not enough_for_limits(found):
        return Scale(estimate_scale(store).farthest, probability)
    return Scale(lambda a, b: found.threshold(RATE, a, b or ""), probability)


def enough_for_limits(found: "Calibration") -> bool:
    """Whether the calibration gives the largest distance of neighbours for every pair of cameras. Warns if not."""
    try:
        for other in ("", "another camera"):  # every pair falls back on all pairs of one camera, or of two cameras
            found.threshold(RATE, "", other)
    except InputError as error:
        warn(f"the calibration gives probabilities, but not the distances of neighbours: {error}")
        return False
    return True
