"""What a long watch keeps in memory: only who is in view. ``tools/bench_watch_people.py`` measures the process."""

import gc
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from drawn_site import MIDNIGHT, WIDTH, Site

from reid_toolkit.gallery import Gallery
from reid_toolkit.live import presence
from reid_toolkit.live.announcer import Announcer, InView
from reid_toolkit.live.events import Event
from reid_toolkit.people.alert_budget import AlertBudget
from reid_toolkit.people.recogniser import PeopleRecogniser
from reid_toolkit.people.update import update
from reid_toolkit.people.watch_list import Picture, WatchList
from reid_toolkit.people.watch_log import WatchLog
from reid_toolkit.runtime import TrackletAverage

LATER = MIDNIGHT + 1e6


class Counter:
    """A destination that counts events."""

    name, count = "counter", None

    def __init__(self) -> None:
        self.events = 0

    def put(self, events: Sequence[Event]) -> None:
        self.events += len(events)


class Loop:
    """A recording that is watched again and again: people of the gallery and strangers cross three cameras."""

    def __init__(self, site: Site, gallery: Gallery) -> None:
        self.site, self.passes, self.now, self.clock = site, 0, LATER, 0.0
        rng = np.random.default_rng(1)
        strangers = rng.normal(size=(4, WIDTH))
        self.looks = [*site.looks[:4], *strangers]
        self.crops = [look + 0.2 * rng.normal(size=(6, WIDTH)) * np.linalg.norm(look) / 8 for look in self.looks]
        self.told = Counter()
        self.log = WatchLog(gallery.people, {})
        self.recogniser = PeopleRecogniser(gallery, "G", clock=lambda: self.clock, log=self.log)
        self.budget = AlertBudget(1.0)
        look = (site.looks[0] / np.linalg.norm(site.looks[0])).astype(np.float32)
        picture = Picture("child.jpg", look, None)
        self.watching = WatchList([picture], self.budget, lambda *_: 0.9, lambda *_: 0.5, None, self.log)
        self.announcer = Announcer([self.told], self.recogniser, watching=self.watching)  # type: ignore[list-item]

    def play(self, times: int) -> None:
        for _ in range(times):
            for who, crops in enumerate(self.crops):
                self.cross(who, crops, f"camera-{who % 3}", f"pass-{self.passes}-{who}")
            self.passes += 1
            self.now += 100.0
            self.clock += 100.0

    def cross(self, who: int, crops: Any, camera: str, tracklet: str) -> None:
        average, start = TrackletAverage(), self.now + who
        for frames, row in enumerate(crops, 1):
            average.add((row / np.linalg.norm(row)).astype(np.float32))
            seen = InView(camera, tracklet, start, start + frames, frames, frames >= 4)
            self.announcer.look(seen, average)
        self.announcer.end(seen, start + 8)
        self.announcer.pass_time(camera, start + 60)

    def kept(self) -> dict[str, int]:
        """How many objects each part keeps."""
        cameras = self.announcer.presence._cameras
        return {
            "decisions": len(self.announcer._decisions),
            "alike": len(self.announcer._alike),
            "in view": sum(map(len, self.recogniser._in_view._cameras.values())),
            "members": len(self.recogniser._members),
            "waiting": len(self.recogniser._newcomers.waiting),
            "said": len(self.recogniser._said) + len(self.watching._said),
            "looked at": len(self.watching._held),
            "visits": sum(len(one.visits) + len(one.of) + len(one.gone) for one in cameras.values()),
            "cameras": len(cameras) + len(self.budget._last),
        }


@pytest.fixture
def loop(site: Site, gallery: Gallery) -> Loop:
    update(gallery)
    return Loop(site, gallery)


def test_a_watch_keeps_as_much_after_many_loops_as_after_a_few(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "MOST", 20)
    loop.play(3)
    few, told = loop.kept(), loop.told.events
    gc.collect()
    gc.freeze()  # what was there before, which each look would go through
    tracemalloc.start()
    try:
        loop.play(3)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        loop.play(16)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
        gc.unfreeze()
    assert loop.told.events > 5 * told > 0, "all the time somebody comes and goes"
    assert loop.log.tracklets == 22 * 8
    assert loop.kept() == few
    assert len(loop.budget._spent) <= 25
    assert grown < 16 * 8 * 200, "less than 200 bytes for each tracklet"
