"""The options of ``reid watch`` about the people of the gallery, and what they switch on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.console import counted, log, printable, warn
from reid_toolkit.cli.people_limits import RATE, fitting_calibration
from reid_toolkit.errors import AuditError, InputError, ModelError, UnavailableError

if TYPE_CHECKING:
    from reid_toolkit.calibration import Calibration
    from reid_toolkit.cli.watch_list import Allowance
    from reid_toolkit.gallery.base import GalleryStore
    from reid_toolkit.live.announcer import Announcer
    from reid_toolkit.people.alert_budget import AlertBudget
    from reid_toolkit.people.recogniser import PeopleRecogniser
    from reid_toolkit.people.scale import Scale
    from reid_toolkit.people.watch_log import WatchLog
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
        metavar="PICTURE|PERSON",
        help="Send an event `alert` when somebody looks like this picture or folder of crops, or is recognised as this "
        "person of the gallery; repeat it for several.",
    ),
    click.option(
        "--alert-reason",
        "reason",
        metavar="TEXT",
        help="Why there are alerts. The gallery's audit log keeps it.",
    ),
    click.option(
        "--alerts-per-day",
        "a_day",
        type=options.Number(0, min_open=True),
        metavar="N",
        help="How many false alerts a day are acceptable. Needs a calibration.  [default: 1 for pictures]",
    ),
)

recognition_options = options.together(OPTIONS)
"""The options about people and alerts."""


class Wanted(NamedTuple):
    """What the options ask for."""

    people: bool | None = None
    alerts: tuple[str, ...] = ()
    reason: str | None = None
    a_day: float | None = None


def check_recognition(events: Sequence[str], wanted: Wanted) -> None:
    """Raise :class:`InputError` for options that contradict each other."""
    alerts, reason = wanted.alerts, wanted.reason
    if alerts and not (reason or "").strip():
        raise InputError("--alert needs --alert-reason TEXT: say why these people are watched for")
    if reason is not None and not alerts:
        raise InputError("--alert-reason is about alerts: give --alert too, or leave --alert-reason out")
    if wanted.a_day is not None and not alerts:
        raise InputError("--alerts-per-day is about alerts: give --alert too, or leave --alerts-per-day out")
    if reason is not None and (len(reason) > LONGEST_REASON or not reason.isprintable()):
        raise InputError(f"--alert-reason: expected at most {LONGEST_REASON:,} printable characters on one line")
    if not events and (wanted.people or alerts):
        option = "--alert" if alerts else "--people"
        raise InputError(f"{option} is about events: give --events too, or leave {option} out")


@contextmanager
def recognising(
    announcer: "Announcer | None",
    store: "GalleryStore",
    gallery: str,
    embedder: "Embedder",
    cameras: Sequence[str],
    wanted: Wanted,
) -> Iterator[None]:
    """Give the announcer a recogniser, if that is asked for or if the gallery has people, and the watch list. Says what
    is done. At the end, the audit log gets the counts.

    Raises :class:`InputError` for an unknown person, a bad picture, or a number of false alerts that cannot be
    promised; and :class:`ModelError` if a calibration is needed and missing.
    """
    if announcer is None:
        yield
        return
    from reid_toolkit.cli.watch_list import Allowance, sort_alerts
    from reid_toolkit.people.watch_log import WatchLog

    table = store.people
    people, pictures = sort_alerts(wanted.alerts, table, gallery)
    if people and wanted.people is False:
        raise InputError(f"--alert {people[0]} needs the people of the gallery: leave --no-people out")
    watch_log = WatchLog(table, {"cameras": list(cameras), "gallery": gallery})
    allowed, recogniser = None, None
    if pictures or wanted.a_day is not None:
        allowed = Allowance.of(store, embedder, cameras, wanted.a_day)
        announcer.watching = allowed.watch_list(pictures, watch_log)
    if wanted.people is not False:
        if not (wanted.people or people or table.read().members):
            tell(f"{gallery}: has no people yet, so events name none: see `reid people`")
        else:
            # For people, the option is a second condition. The default is for pictures only.
            budget = allowed.budget if allowed and wanted.a_day is not None else None
            recogniser = recognise_people(announcer, store, gallery, embedder, people, budget, watch_log)
    if allowed:
        tell(allowed.in_words())
    if announcer.recogniser or announcer.watching:
        watch_log.begin()
    if wanted.alerts:
        keep_reason(watch_log, gallery, people, pictures, cameras, wanted, allowed)
    try:
        yield
    finally:
        if recogniser:
            recogniser.close()
        try:
            watch_log.end()
        except (UnavailableError, AuditError) as error:
            warn(f"{gallery}: the audit log has no line about the end of the watch: {error}")


def recognise_people(
    announcer: "Announcer",
    store: "GalleryStore",
    gallery: str,
    embedder: "Embedder",
    watched: Sequence[str],
    budget: "AlertBudget | None",
    watch_log: "WatchLog",
) -> "PeopleRecogniser":
    """Give the announcer a recogniser, and say so."""
    from reid_toolkit.calibration import beside
    from reid_toolkit.people.recogniser import PeopleRecogniser

    recogniser = PeopleRecogniser(
        store,
        gallery,
        scale=lambda: calibrated_scale(store, embedder),
        scale_version=lambda: written_at(beside(embedder.path)),
        watched=watched,
        budget=budget,
        log=watch_log,
    )
    announcer.recogniser = recogniser
    whom = counted(recogniser.people, "person") if recogniser.people == 1 else f"{recogniser.people:,} people"
    later = "" if recogniser.people else ": run `reid people` beside the watch"
    tell(f"{gallery}: events name its {whom}{later}")
    return recogniser


def written_at(path: Path) -> int | None:
    """When a file was written, in nanoseconds. None if there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def keep_reason(
    watch_log: "WatchLog",
    gallery: str,
    people: Sequence[str],
    pictures: Sequence[str],
    cameras: Sequence[str],
    wanted: Wanted,
    allowed: "Allowance | None",
) -> None:
    """Write the watch list into the audit log. Warns if it is off."""
    event = {
        "action": "watch list", "people": list(people), "pictures": list(pictures), "cameras": list(cameras),
        "alerts_per_day": allowed and allowed.budget.a_day, "reason": wanted.reason,
    }  # fmt: skip
    if not watch_log.note(event):
        warn(
            f"{gallery}: a gallery in Milvus has no audit log, so the reason of the alerts is not kept"
            if "://" in gallery
            else f"{gallery}: the audit log is off, so it does not keep the reason of the alerts: switch it on with "
            f"`reid gallery audit {gallery} on`"
        )


def tell(message: str) -> None:
    """Say something on stderr that is no warning."""
    log.print(printable(message), markup=False, soft_wrap=True)


def calibrated_scale(store: "GalleryStore", embedder: "Embedder") -> "Scale | None":
    """What distances mean by the calibration beside the model. None without one. Warns about one that does not fit."""
    from reid_toolkit.calibration import beside
    from reid_toolkit.cli.watch_list import limit_by, probability_by
    from reid_toolkit.people.scale import Scale, estimate_scale

    path = beside(embedder.path)
    if not path.exists():
        return None
    try:
        found = fitting_calibration(store, path, embedder.fingerprint)
    except ModelError as error:
        warn(f"the calibration is not used: {error}")
        return None
    probability, limit = probability_by(found, store), limit_by(found)
    rate = store.people.read().false_match_rate or RATE
    if not enough_for_limits(found, rate):
        return Scale(estimate_scale(store).farthest, probability, limit)
    return Scale(cache(lambda a, b: found.threshold(rate, a, b or "")), probability, limit)


def enough_for_limits(found: "Calibration", rate: float) -> bool:
    """Whether the calibration gives the largest distance of neighbours for every pair of cameras. Warns if not."""
    try:
        for other in ("", "another camera"):  # every pair falls back on all pairs of one camera, or of two cameras
            found.threshold(rate, "", other)
    except InputError as error:
        warn(f"the calibration gives probabilities, but not the distances of neighbours: {error}")
        return False
    return True
