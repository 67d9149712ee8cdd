"""Measures how a watch recognises people live: how well, how often it alarms, how soon it says so, and its memory.

    python tools/bench_watch_people.py --days days --models models --json docs/benchmarks/watch_people.json

``--days`` holds drawn days of 40 people in 6 cameras, ``day-N`` (``reid_toolkit/demo/day.py``); ``--models`` an INT8
model ``day-N.onnx`` of the network that was trained on each (``reid export --int8``). ``--parts`` chooses what is
measured. Each part is written when it is done; the other parts of an existing JSON stay.

identity: each day is played to the recogniser crop by crop, as a tracker would, into an empty gallery, which is grouped
every ``--group-every`` minutes of the day and at its end. IDF1 over all cameras counts crops: live, by the last event
about the tracklet while it was there; "corrected", by the last event of all; and by grouping, as it came and all at
once afterwards. A tracklet without a number counts as a person of its own. A true visit is a stay of one person before
one camera.

alerts: a model watches a day of people whom it was not trained on. The first half of the day is the gallery and makes
the calibration. In the second half, each person of a third day is watched for, one at a time, by one tracklet: every
alert is false. Then each person of the first half is watched for, who may come. "promised" is the sum of the rates of
all comparisons. A watch would refuse the rows that are "refused"; here they are measured all the same.

latency: ``--streams`` drawn cameras of 10 frames a second, decoded from JPEG, in one process. Each frame's time is when
it came, so the time from a tracklet's fifth frame to its first event includes waiting. It is 0 if the event came before
the fifth frame. "reference" are the times of one crop and one frame alone, in the same process before.

memory: ``reid watch`` reads a drawn recording again and again for ``--minutes`` of wall clock, with people and events.
Its resident memory is sampled, and given as the median of each tenth.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from machine import resident
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from study import write_json

from reid_toolkit.calibration.calibration import calibrate
from reid_toolkit.calibration.cross_camera import reciprocal_clusters
from reid_toolkit.calibration.evidence import collect, people_apart
from reid_toolkit.camera_statistics import fit_camera_statistics
from reid_toolkit.cli.watch_list import limit_by
from reid_toolkit.datasets.manifest import read_identities, read_manifest
from reid_toolkit.demo.day import PLACES, SIZE
from reid_toolkit.demo.people import make_people
from reid_toolkit.demo.recording import Shooting
from reid_toolkit.demo.walks import plan_walks
from reid_toolkit.footage.detector import load_detectors
from reid_toolkit.footage.extract import Settings
from reid_toolkit.footage.frames import Frame, stamp_of
from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.images import Image, read_image
from reid_toolkit.live.announcer import Announcer, InView
from reid_toolkit.live.events import Event
from reid_toolkit.live.events.sink import SinkCount
from reid_toolkit.live.watch import Camera, watch_cameras
from reid_toolkit.people.alert_budget import AlertBudget, busiest_day
from reid_toolkit.people.recogniser import READ_SECONDS, PeopleRecogniser
from reid_toolkit.people.update import update
from reid_toolkit.people.watch_list import Picture, WatchList
from reid_toolkit.people.watch_log import WatchLog
from reid_toolkit.records import Record, Tracklet
from reid_toolkit.runtime import Embedder, TrackletAverage

FPS, SECONDS, MIN_CROPS = 10.0, 40, 4
ANY = 10**9
"""More pairs of people than any promise needs."""
APART = 30.0
"""Seconds without a sight after which a visit has ended, as in ``reid watch``."""


@dataclass
class Told:
    """A destination that keeps all events, and when each came."""

    name: str = "told"
    count: SinkCount = field(default_factory=SinkCount)
    events: list[tuple[float, Event]] = field(default_factory=list)

    def put(self, events: Sequence[Event]) -> None:
        self.events += [(time.time(), event) for event in events]

    def poll(self) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Played:
    """A drawn day as a model sees it."""

    tracklets: tuple[Tracklet, ...]
    rows: dict[str, NDArray[np.float32]]
    """The descriptors (K, D) of each tracklet's crops."""
    identities: dict[str, str]

    @classmethod
    def of(cls, day: Path, embedder: Embedder) -> "Played":
        data = read_manifest(day)
        rows = {one.name: embedder.embed([read_image(crop.path) for crop in one.crops]) for one in data.tracklets}
        kept = tuple(one for one in data.tracklets if len(one.crops) >= MIN_CROPS)
        return cls(kept, rows, read_identities(day / "identities.csv"))

    def whole(self, tracklets: Iterable[Tracklet]) -> NDArray[np.float32]:
        means = np.stack([self.rows[one.name].mean(axis=0) for one in tracklets])
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def record(self, one: Tracklet) -> Record:
        return Record(one.name, one.camera, one.start, one.end, "/drawn")


PlayedBy = Callable[[int, int], Played]
"""A day, as the model of a day sees it."""


def identity(played: Played, group_every: float) -> dict[str, Any]:
    """Play a whole day to a recogniser, and compare with grouping."""
    told, shown = Told(), {one.name: one for one in played.tracklets}
    crops = sorted((crop.time, one.name, at) for one in played.tracklets for at, crop in enumerate(one.crops))
    clock, grouped, view = 0.0, crops[0][0], dict[str, TrackletAverage]()
    with tempfile.TemporaryDirectory() as folder, Gallery.open(Path(folder) / "g") as gallery:
        gallery.expect(dimension=len(next(iter(played.rows.values()))[0]))
        announcer = Announcer([told], PeopleRecogniser(gallery, "gallery", clock=lambda: clock))

        def end(name: str, now: float) -> None:
            one, average = shown[name], view.pop(name)
            gallery.add(average.descriptor[None], [played.record(one)])
            announcer.enroll(played.record(one))
            announcer.end(InView(one.camera, name, one.start, one.end, average.count, True), now)

        for now, name, at in crops:
            for other in [other for other in view if shown[other].end < now - 1]:
                end(other, now)
            if now - grouped >= group_every:
                gallery.refresh_statistics(if_due=True)
                update(gallery)
                grouped = now
            clock, one = now, shown[name]
            average = view.setdefault(name, TrackletAverage())
            average.add(played.rows[name][at])
            announcer.pass_time(one.camera, now)
            announcer.look(InView(one.camera, name, one.start, now, average.count, average.count >= MIN_CROPS), average)
            announcer.poll()
        for name in list(view):
            end(name, clock)
        update(gallery)
        for camera in {one.camera for one in played.tracklets}:
            announcer.close_camera(camera)
        clock += READ_SECONDS
        announcer.poll()
        as_it_came = {digest: one.person for digest, one in gallery.people.read().members.items()}
        gallery.refresh_statistics()
        update(gallery, anew=True)
        afterwards = {digest: one.person for digest, one in gallery.people.read().members.items()}
    last = {event.tracklet: event.number or event.visit for _, event in told.events if event.kind != "left"}
    live = {
        event.tracklet: event.number or event.visit
        for _, event in told.events
        if event.kind not in ("left", "corrected")
    }
    truth = [played.identities[name] for _, name, _ in crops]
    digests = [key_digest(played.record(shown[name])) for _, name, _ in crops]
    visits = true_visits(played)
    kinds = [event.kind for _, event in told.events]
    return {
        "idf1 live": idf1(truth, [live.get(name, name) for _, name, _ in crops]),
        "idf1 corrected": idf1(truth, [last.get(name, name) for _, name, _ in crops]),
        "idf1 grouped as it came": idf1(truth, [as_it_came[one] for one in digests]),
        "idf1 grouped afterwards": idf1(truth, [afterwards[one] for one in digests]),
        "entered per visit": kinds.count("entered") / visits,
        "entered and revised per visit": (kinds.count("entered") + kinds.count("revised")) / visits,
        "corrected per visit": kinds.count("corrected") / visits,
        "visits": visits,
        "tracklets": len(shown),
    }


def idf1(truth: Sequence[str], found: Sequence[Any]) -> float:
    """Ristani et al. 2016, for as many found boxes as true boxes: the share that is right if each true person is
    matched to one found person."""
    true, ours = (np.unique(np.array(one, str), return_inverse=True)[1] for one in (truth, found))
    shared = np.zeros((true.max() + 1, ours.max() + 1))
    np.add.at(shared, (true, ours), 1)
    rows, columns = linear_sum_assignment(-shared)
    return float(shared[rows, columns].sum() / len(true))


def true_visits(played: Played) -> int:
    """How many stays of one person before one camera there are."""
    ends: dict[tuple[str, str], float] = {}
    count = 0
    for one in sorted(played.tracklets, key=lambda one: one.start or 0.0):
        who = played.identities[one.name], one.camera
        count += (one.start or 0.0) - ends.get(who, -1e9) > APART
        ends[who] = max(ends.get(who, -1e9), one.end or 0.0)
    return count


def seen_at_once(tracklets: Sequence[Tracklet]) -> NDArray[np.int64]:
    """Pairs of tracklets that one camera saw at the same moment."""
    pairs = [
        (a, b)
        for b, two in enumerate(tracklets)
        for a, one in enumerate(tracklets[:b])
        if one.camera == two.camera and one.start <= two.end and two.start <= one.end
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)


@dataclass(frozen=True)
class Site:
    """The first half of a day, from which a calibration was made, and the second half, which is watched."""

    played: Played
    early: list[Tracklet]
    late: list[Tracklet]
    fitted: Any
    """Camera statistics."""
    calibration: Any
    """It does not refuse anything, so that it is seen what a refusal is good for."""
    pairs: int
    """How many pairs of people were seen at once, which is what a watch refuses by."""

    @classmethod
    def of(cls, played: Played) -> "Site":
        middle = float(np.median([one.start for one in played.tracklets]))
        early = [one for one in played.tracklets if one.end < middle]
        late = sorted((one for one in played.tracklets if one.start >= middle), key=lambda one: one.start)
        cameras, whole = [one.camera for one in early], played.whole(early)
        halves = np.stack([[part.mean(axis=0) for part in np.array_split(played.rows[one.name], 2)] for one in early])
        halves /= np.linalg.norm(halves, axis=2, keepdims=True)
        fitted = fit_camera_statistics(whole, cameras, [one.name for one in early])
        if fitted:
            whole = fitted.apply(whole, cameras)
            halves = np.stack([fitted.apply(halves[:, half], cameras) for half in (0, 1)], axis=1)
        at_once = seen_at_once(early)
        clusters = reciprocal_clusters(whole, cameras, at_once)
        found = calibrate(
            collect(whole, halves, cameras, at_once, clusters), model="0" * 16, dataset="0" * 16, tracklets=len(early),
            links="neighbours", people_pairs=ANY,
        )  # fmt: skip
        return cls(played, early, late, fitted, found, len(people_apart(len(early), at_once, clusters)[1]))

    def watch(self, pictures: Sequence[Picture], a_day: float) -> tuple[set[tuple[str, str]], float]:
        """Pairs of a tracklet and the picture that raised an alert, and how many false alerts were expected at most."""
        budget = AlertBudget(a_day, busiest_day(one.start for one in self.early))
        watching = WatchList(
            pictures, budget, limit_by(self.calibration), lambda *_: 0.5, self.fitted, WatchLog(None, {})
        )
        told, spent = set(), 0.0
        for one in self.late:
            average = TrackletAverage()
            for frames, row in enumerate(self.played.rows[one.name], 1):
                average.add(row)
                before = sum(budget._spent.values())
                alike = watching.look(average.descriptor, one.camera, one.start + frames, frames, one.name)
                spent += max(sum(budget._spent.values()) - before, 0.0)
            told |= {(one.name, found.picture) for found in alike}
            watching.ended(one.name)
        return told, spent


def alerts(site: Site, strangers: Played, a_day: float) -> dict[str, Any]:
    """Watch for people of another day, one at a time, and then for people who may come."""
    faces = {strangers.identities[one.name]: one for one in strangers.tracklets}
    names = site.played.identities
    false, promised, came, right, wrong, beside = 0, 0.0, 0, 0, 0, 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # about a calibration that has too little for a rare event
        for one in faces.values():
            told, spent = site.watch([picture_of(strangers, one)], a_day)
            false, promised = false + len(told), promised + spent
        first = {names[one.name]: one for one in site.early}
        for who, one in first.items():
            told, spent = site.watch([picture_of(site.played, one)], a_day)
            visits = {other.name for other in site.late if names[other.name] == who}
            came, right = came + len(visits), right + len({name for name, _ in told if name in visits})
            wrong, beside = wrong + len({name for name, _ in told if name not in visits}), beside + spent
    found, budget = site.calibration, AlertBudget(a_day, busiest_day(one.start for one in site.early))
    return {
        "a day": a_day, "pairs of people": site.pairs,
        "refused": a_day / budget.comparisons_a_day < 1 / (site.pairs + 1),
        "hours": round((site.late[-1].end - site.late[0].start) / 3600, 2), "tracklets": len(site.late),
        "strangers": len(faces), "false": false, "promised": round(promised, 1),
        "people who may come": len(first), "their tracklets": came, "right": right, "false beside": wrong,
        "promised beside": round(beside, 1), "different people in one camera": found.within.different,
        "different people in two cameras": found.across.different if found.across else 0,
    }  # fmt: skip


def picture_of(played: Played, one: Tracklet) -> Picture:
    return Picture(one.name, played.whole([one])[0], None)


def drawn_frames(camera: str, seed: int, people: int = 40) -> list[bytes]:
    """A drawn recording of a camera, as JPEG files."""
    rng = np.random.default_rng([seed, 3])
    who = make_people(people, 3)
    walkers = tuple(who[at] for at in rng.choice(people, 12, replace=False))
    place = PLACES[camera]
    walks = plan_walks(place, walkers, 2, SIZE[0] / SIZE[1], FPS, rng)[: round(FPS * SECONDS)]
    shooting = Shooting(place, SIZE, rng)
    return [cv2.imencode(".jpg", shooting.shoot(steps)[0])[1].tobytes() for steps in walks]


@dataclass(frozen=True)
class Stream:
    """A drawn camera that gives a frame every tenth of a second, at the times of the clock."""

    name: str
    pictures: list[bytes]
    began: float
    source: str = "rtsp://drawn"
    frame_rate: float = FPS
    is_stream: bool = True
    fingerprint: str = "0" * 16
    files: tuple[Path, ...] = ()
    stamp: str = stamp_of(())

    def frames(self, on_damage: Any = None) -> Iterator[Frame]:
        number = 0
        while True:
            due = self.began + number / FPS
            time.sleep(max(due - time.time(), 0))
            came = time.time()
            yield Frame(number, came, decoded(self.pictures[number % len(self.pictures)]))
            number += 1


def decoded(picture: bytes) -> Image:
    return np.asarray(cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR), np.uint8)


class Timed(Announcer):
    """An announcer that notes when each tracklet's fifth frame came."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.shown: defaultdict[str, int] = defaultdict(int)
        self.fifth: dict[str, float] = {}

    def look(self, seen: InView, average: TrackletAverage | None) -> None:
        self.shown[seen.tracklet] += 1
        if self.shown[seen.tracklet] == 5:
            self.fifth[seen.tracklet] = seen.end
        super().look(seen, average)


def latency(model: Path, known: Played, streams: int, seconds: float, cores: int) -> dict[str, Any]:
    """Watch drawn streams in this process."""
    cv2.setNumThreads(cores)
    embedder = Embedder(model, threads=1)
    names = [f"{list(PLACES)[at % len(PLACES)]}-{at // len(PLACES)}" for at in range(streams)]
    pictures = {name: drawn_frames(name.rpartition("-")[0], at) for at, name in enumerate(names)}
    frame = decoded(pictures[names[0]][20])
    detector = load_detectors(1, "motion")[0]
    detector.start(FPS)
    crop = np.ascontiguousarray(frame[:120, :60])
    reference = {
        "embed a crop ms": 1e3 * alone(lambda: embedder.embed([crop])),
        "detect a frame ms": 1e3 * alone(lambda: detector(frame)),
        "decode a frame ms": 1e3 * alone(lambda: decoded(pictures[names[0]][20])),
        "load average": round(os.getloadavg()[0], 2),
    }
    told = Told()
    with (
        tempfile.TemporaryDirectory() as folder,
        Gallery.open(Path(folder) / "g") as gallery,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", RuntimeWarning)
        gallery.expect(embedder.dimension, embedder.fingerprint)
        gallery.add(known.whole(known.tracklets), [known.record(one) for one in known.tracklets])
        gallery.refresh_statistics()
        update(gallery)
        announcer = Timed([told], PeopleRecogniser(gallery, "gallery"))
        began = time.time() + 1.0
        cameras = [
            Camera(name, Stream(name, pictures[name], began + at / FPS / streams), found)  # type: ignore[arg-type]
            for at, (name, found) in enumerate(zip(names, load_detectors(streams, "motion"), strict=True))
        ]
        report = watch_cameras(
            cameras, embedder, gallery, Settings("motion", every=1, min_crops=MIN_CROPS), seconds=seconds,
            announcer=announcer,
        )  # fmt: skip
    first: dict[str, float] = {}
    for when, event in told.events:
        if event.kind == "entered":
            first.setdefault(event.tracklet, when)
    waits = sorted(max(when - announcer.fifth[name], 0.0) for name, when in first.items() if name in announcer.fifth)
    states = [event.state for _, event in told.events if event.kind == "entered"]
    soon = [wait for wait in waits if wait < 1.0]
    return {
        "streams": streams, "seconds": seconds, "frames": report.tally.frames, "dropped": report.dropped,
        "crops": report.tally.crops, "cores": round(report.cores, 2), "tracklets": len(waits),
        "known": states.count("known"), "new": states.count("new"), "undecided": states.count("undecided"),
        **{f"p{share} ms": round(1e3 * float(np.quantile(waits, share / 100))) for share in (50, 95)},
        "decided within a second": len(soon),
        "p95 ms of these": round(1e3 * float(np.quantile(soon, 0.95))) if soon else None,
        **{key: round(value, 2) for key, value in reference.items()},
    }  # fmt: skip


def alone(act: Any) -> float:
    """Median seconds of a call."""
    times = []
    for _ in range(60):
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def memory(model: Path, minutes: float) -> dict[str, Any]:
    """Run `reid watch` on a drawn recording, over and over."""
    with tempfile.TemporaryDirectory() as folder:
        video, told = (Path(folder) / name for name in ("hall.avi", "events.jsonl"))
        pictures = [decoded(one) for one in drawn_frames("hall", 0)]
        writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), FPS, SIZE)
        for one in pictures:
            writer.write(one)
        writer.release()
        line = [
            sys.executable, "-m", "reid_toolkit", "watch", str(video), "--model", str(model), "--gallery",
            str(Path(folder) / "g"), "--people", "--events", str(told), "--loop", "1000000", "--seconds",
            str(60 * minutes), "--json",
        ]  # fmt: skip
        samples = []
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            while process.poll() is None:
                samples.append(resident(process.pid))
                time.sleep(0.5)
            assert process.stdout is not None
            summary = json.loads(process.stdout.read())
        events = told.read_bytes().count(b"\n")
    tenths = [samples[len(samples) * i // 10 : max(len(samples) * (i + 1) // 10, 1)] for i in range(10)]
    return {
        "minutes": minutes, "frames": summary["frames"], "hours of footage": round(summary["frames"] / FPS / 3600, 2),
        "enrolled": summary["enrolled"], "events": events, "frames_per_second": summary["frames_per_second"],
        "resident_mb": [round(statistics.median(tenth or samples) / 1e6, 1) for tenth in tenths],
    }  # fmt: skip


def main() -> None:
    parser = parse()
    options = parser.parse_args()
    if "alerts" in options.parts and len(set(options.seeds)) < 3:
        parser.error("alerts need three --seeds: the model's, the day's, and the strangers'")
    embedders = {seed: Embedder(model_of(options, seed), threads=1) for seed in options.seeds}

    def played(day: int, model: int) -> Played:
        return Played.of(options.days / f"day-{day}", embedders[model])

    for name in options.parts:
        found = PARTS[name](options, played)
        parts = json.loads(options.json.read_text()) if options.json.exists() else {}
        write_json(options.json, {key: parts[key] for key in PARTS if key in parts} | {name: found})
        print(json.dumps({name: found}, indent=1), flush=True)


def model_of(options: argparse.Namespace, seed: int) -> Path:
    return Path(options.models) / f"day-{seed}.onnx"


def identities(options: argparse.Namespace, played: PlayedBy) -> list[dict[str, Any]]:
    """Each day, grouped at each rate."""
    return [
        {"day": seed, "group every minutes": every, **identity(played(seed, seed), 60 * every)}
        for seed in options.seeds
        for every in options.group_every
    ]


def all_alerts(options: argparse.Namespace, played: PlayedBy) -> list[dict[str, Any]]:
    """Each model with the two other days."""
    rows, seeds = [], options.seeds
    for place, seed in enumerate(seeds):
        day, other = seeds[(place + 1) % len(seeds)], seeds[(place + 2) % len(seeds)]
        site, strangers = Site.of(played(day, seed)), played(other, seed)
        rows += [{"model": seed, "day": day, **alerts(site, strangers, n)} for n in options.a_day]
    return rows


def latencies(options: argparse.Namespace, played: PlayedBy) -> list[dict[str, Any]]:
    """Several runs with the first day."""
    seed = options.seeds[0]
    model, known = model_of(options, seed), played(seed, seed)
    return [latency(model, known, options.streams, options.seconds, options.cores) for _ in range(options.times)]


PARTS: dict[str, Callable[[argparse.Namespace, PlayedBy], Any]] = {
    "identity": identities,
    "alerts": all_alerts,
    "latency": latencies,
    "memory": lambda options, _: memory(model_of(options, options.seeds[0]), options.minutes),
}


def parse() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=Path, required=True, help="folder of the drawn days")
    parser.add_argument("--models", type=Path, required=True, help="folder of the INT8 models")
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 5], help="drawn days")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--group-every", type=float, nargs="+", default=[15, 60], help="minutes")
    parser.add_argument("--a-day", type=float, nargs="+", default=[50, 500], help="false alerts that are allowed")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60, help="of each run with streams")
    parser.add_argument("--times", type=int, default=3, help="runs with streams")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=15, help="of the run for memory")
    parser.add_argument("--json", type=Path, required=True)
    return parser


if __name__ == "__main__":
    main()
