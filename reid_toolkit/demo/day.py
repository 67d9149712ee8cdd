"""Draws a day of people who go from camera to camera, as tracklets with Unix times and known identities.

A person comes, goes from place to place, each time crossing the picture of a camera, and leaves again. People come in
the morning, at noon or in the evening, and most come more than once. Only the frames that give a crop are drawn, so a
day of 40 people is drawn in about a minute. It is for trials of `reid people`, which groups tracklets into people.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from reid_toolkit.datasets.manifest import write_manifest
from reid_toolkit.demo.cameras import CAMERAS
from reid_toolkit.demo.people import CLOTHES, Person, draw_person, make_people
from reid_toolkit.demo.recording import Shooting
from reid_toolkit.demo.truth import HIDDEN, write_identities
from reid_toolkit.demo.walks import Step, walk
from reid_toolkit.errors import InputError
from reid_toolkit.images import Image, write_crop
from reid_toolkit.records import Crop

OPENING, CLOSING = 8 * 3600.0, 18 * 3600.0
"""The first and the last arrival, seconds after midnight."""
RUSHES = ((9 * 3600.0, 300.0), (12.5 * 3600.0, 450.0), (17 * 3600.0, 600.0))
"""When people come: mean and standard deviation of each of the day's waves of arrivals."""
FPS = 12.0
SIZE = (512, 288)
MARGIN = 0.1
"""A crop is wider than the box by this part of the box on each side, as a detector's boxes are."""
SMALLEST_HEIGHT = 48
"""Crops lower than this are left out, pixels."""

PLACES = {
    **CAMERAS,
    "shop": replace(CAMERAS["hall"], name="shop", gains=(1.05, 0.96, 1.0), gamma=1.1, saturation=0.85),
    "yard": replace(CAMERAS["north"], name="yard", gains=(0.9, 1.0, 1.06), gamma=1.05, saturation=0.95),
    "stairs": replace(CAMERAS["gate"], name="stairs", gains=(1.08, 0.93, 0.97), gamma=0.88, saturation=0.8),
}
"""Six cameras: those of the demo, and each of their scenes again in other light with another camera."""


@dataclass(frozen=True)
class Visit:
    """A person who crosses the picture of a camera."""

    person: Person
    camera: str
    start: float
    """Unix time of the first step."""
    steps: tuple[Step, ...]
    """One for each frame, at FPS frames per second."""

    @property
    def end(self) -> float:
        return self.start + len(self.steps) / FPS


@dataclass(frozen=True)
class Day:
    """Who comes, and what makes the day hard. The defaults make an ordinary day."""

    people: int = 40
    seed: int = 0
    midnight: float = 1_790_000_000.0 - 1_790_000_000.0 % 86_400
    """Unix time at which the day begins."""
    cameras: tuple[str, ...] = tuple(PLACES)
    stays: tuple[int, int] = (1, 3)
    """Least and greatest number of times that a person comes in the day."""
    places: tuple[int, int] = (3, 7)
    """Least and greatest number of cameras that a person crosses each time."""
    uniforms: int = 0
    """So many of the people wear the same clothes. They differ in height, girth, skin and hair."""
    second_coats: int = 0
    """So many people wear other clothes from their second stay on."""
    all_day: int = 0
    """So many people cross the first camera every ten minutes from morning to evening."""
    crowd: int = 0
    """So many people come within the same minute."""
    poster: bool = False
    """A picture of a person hangs in the first camera. It gives a tracklet every half hour."""
    late_clock: tuple[str, float] | None = None
    """A camera, and the seconds by which its clock is ahead."""
    overlapping: tuple[str, str] | None = None
    """The second of these cameras sees whoever crosses the first, at the same time."""


@dataclass
class Planner:
    """Plans the visits of a day. No person is in two places at once, except in overlapping cameras."""

    day: Day
    visits: list[Visit] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng([self.day.seed, 7])
        count = len(self.day.cameras)
        shape = np.random.default_rng([self.day.seed, 8])
        self.transit = shape.uniform(20, 90, (count, count))
        """Median seconds from one camera to another."""
        self.transit = (self.transit + self.transit.T) / 2

    def stay(self, looks: Person, arrival: float) -> float:
        """Plan one stay from ``arrival`` on, seconds after midnight. Returns when the person is gone."""
        places = self.rng.integers(self.day.places[0], self.day.places[1] + 1)
        now, place = arrival, int(self.rng.integers(len(self.day.cameras)))
        for _ in range(places):
            now = self.cross(looks, self.day.cameras[place], now)
            if len(self.day.cameras) == 1:
                now += 60.0
                continue
            following = (place + int(self.rng.integers(1, len(self.day.cameras)))) % len(self.day.cameras)
            now += float(self.transit[place, following] * self.rng.lognormal(0, 0.25))
            place = following
        return now

    def cross(self, looks: Person, name: str, now: float) -> float:
        """Plan a walk through the picture of a camera. Returns when it ends."""
        camera = PLACES[name]
        points = np.array(camera.routes[self.rng.integers(len(camera.routes))])
        points = points[::-1] if self.rng.random() < camera.reversal else points
        speed = float(self.rng.uniform(0.95, 1.2))
        steps = tuple(walk(camera, looks, points, speed, SIZE[0] / SIZE[1], FPS, self.rng))
        self.visits.append(Visit(looks, name, self.day.midnight + now, steps))
        if self.day.overlapping and name == self.day.overlapping[0]:
            self.cross(looks, self.day.overlapping[1], now)
        return now + len(steps) / FPS

    def arrivals(self, count: int) -> list[float]:
        """Draw when a person comes, seconds after midnight, in order."""
        waves = self.rng.integers(len(RUSHES), size=count)
        times = [self.rng.normal(*RUSHES[wave]) for wave in waves]
        return sorted(float(np.clip(time, OPENING, CLOSING)) for time in times)


def plan_day(day: Day) -> list[Visit]:
    """Plan who crosses which camera and when, sorted by time. The same ``day`` gives the same visits.

    Raises :class:`InputError` for settings that cannot be drawn.
    """
    unknown = [name for name in day.cameras if name not in PLACES]
    if unknown or not day.cameras:
        raise InputError(f"cameras are {list(day.cameras)}: expected some of {', '.join(PLACES)}")
    both = day.overlapping
    if both and (both[0] == both[1] or not set(both) <= set(PLACES)):
        raise InputError(f"overlapping is {list(both)}: expected two of {', '.join(PLACES)}")
    planner = Planner(day)
    rush = float(RUSHES[0][0])
    for index, person in enumerate(dressed(day)):
        free = 0.0
        stays: list[tuple[float, float]] = []
        for number, arrival in enumerate(planner.arrivals(int(planner.rng.integers(day.stays[0], day.stays[1] + 1)))):
            crowded = index < day.crowd and number == 0
            arrival = rush + float(planner.rng.uniform(0, 60)) if crowded else arrival
            looks = changed(person, day) if index < day.second_coats and number else person
            begin = max(arrival, free + 60)
            free = planner.stay(looks, begin)
            stays.append((begin, free))
        for now in np.arange(OPENING + 300, CLOSING, 600.0) if index < day.all_day else ():
            if not any(begin - 60 < now < end + 60 for begin, end in stays):  # then the person is elsewhere
                planner.cross(person, day.cameras[0], float(now))
    if day.poster:
        planner.visits += hang_poster(day)
    return sorted(planner.visits, key=lambda visit: (visit.start, visit.camera, visit.person.identity))


def dressed(day: Day) -> list[Person]:
    """The people of the day, the first of them in uniforms."""
    people = list(make_people(day.people, day.seed))
    model = people[0]
    for index in range(min(day.uniforms, len(people))):
        person = people[index]
        people[index] = replace(
            person, top=model.top, second=model.second, pattern=model.pattern, long_sleeves=model.long_sleeves,
            hem=model.hem, legs=model.legs, legs_colour=model.legs_colour, shoes=model.shoes, bag="none",
            hair_style="cap", hat=CLOTHES[model.top],
        )  # fmt: skip
    return people


def changed(person: Person, day: Day) -> Person:
    """The same person in other clothes."""
    other = draw_person(person.identity, np.random.default_rng([day.seed, 9, int(person.identity)]))
    return replace(other, height=person.height, girth=person.girth, skin=person.skin, hair=person.hair)


def hang_poster(day: Day) -> list[Visit]:
    """The visits of a picture on the wall, which a detector takes for a person. Its identity is "poster"."""
    person = replace(draw_person("1", np.random.default_rng([day.seed, 10])), identity="poster")
    camera = PLACES[day.cameras[0]]
    step = Step(person, 0.8, camera.far[0] + 0.02, 0.0, 0.6)
    times = np.arange(OPENING, CLOSING, 1800.0)
    return [Visit(person, camera.name, day.midnight + float(now), (step,) * 30) for now in times]


def draw_day(
    folder: Path, day: Day, *, crops: int = 8, on_progress: Callable[[int, int | None], None] | None = None
) -> dict[str, str]:
    """Draw a day into the dataset ``folder``: crops, manifest.csv, and identities.csv beside it.

    Each visit that a camera sees well is a tracklet of up to ``crops`` crops. Returns the tracklets' identities.
    Existing files of the same names are replaced.
    """
    visits = plan_day(day)
    by_camera: defaultdict[str, list[Visit]] = defaultdict(list)
    for visit in visits:
        by_camera[visit.camera].append(visit)
    rows: list[Crop] = []
    identities: dict[str, str] = {}
    done = 0
    for camera, seen in by_camera.items():
        rng = np.random.default_rng([day.seed, 11, list(PLACES).index(camera)])
        shooting = Shooting(PLACES[camera], SIZE, rng)
        ahead = day.late_clock[1] if day.late_clock and day.late_clock[0] == camera else 0.0
        for number, visit in enumerate(seen):
            name = f"{camera}-{number:05d}"
            shown = list(crops_of(shooting, visit, near_in_time(visit, seen, number), crops))
            for frame, time, image, box in shown:
                path = folder / camera / name / f"{frame:06d}.jpg"
                write_crop(path, image)
                rows.append(Crop(path.resolve(), camera, name, frame, time + ahead, *box, recording=camera))
            if shown:
                identities[name] = visit.person.identity
            done += 1
            if on_progress:
                on_progress(done, len(visits))
    write_manifest(folder, rows)
    write_identities(folder / "identities.csv", identities)
    return identities


def near_in_time(visit: Visit, seen: Sequence[Visit], place: int) -> list[Visit]:
    """The visits among ``seen``, sorted by start, that overlap ``visit``, which is at ``place``, and itself."""
    longest = 60.0  # no walk takes longer
    near = [visit]
    for step in (-1, 1):
        at = place + step
        while 0 <= at < len(seen) and abs(seen[at].start - visit.start) < longest:
            if seen[at].start < visit.end and seen[at].end > visit.start:
                near.append(seen[at])
            at += step
    return near


def crops_of(
    shooting: Shooting, visit: Visit, near: Iterable[Visit], count: int
) -> Iterable[tuple[int, float, Image, tuple[int, int, int, int]]]:
    """Draw up to ``count`` crops of a visit: frame number in the camera's day, Unix time, picture and box."""
    inside = [at for at, step in enumerate(visit.steps) if 0.06 < step.x < 0.94]
    for at in np.unique(np.linspace(0, len(inside) - 1, min(count, len(inside))).round().astype(int)) if inside else ():
        time = visit.start + inside[at] / FPS
        walkers = [
            other.steps[moment]
            for other in near
            if 0 <= (moment := round((time - other.start) * FPS)) < len(other.steps)
        ]
        image, found = shooting.shoot(sorted(walkers, key=lambda step: step.y))
        box = next((one for one in found if one[0] == visit.person.identity), None)
        if box is None or box[5] < HIDDEN or box[4] < SMALLEST_HEIGHT:
            continue
        _, x, y, width, height, _ = box
        wide, high = round(MARGIN * width), round(MARGIN * height)
        crop = image[max(y - high, 0) : y + height + high, max(x - wide, 0) : x + width + wide]
        yield round((time % 86_400) * FPS), time, crop, (x, y, width, height)
