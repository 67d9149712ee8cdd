from itertools import combinations, pairwise

import numpy as np
import pytest

from reid_toolkit.demo.cameras import CAMERAS
from reid_toolkit.demo.people import make_people
from reid_toolkit.demo.walks import AT_ONCE, EMPTY, plan_walks


def plan(name, people=5, visits=2, seed=0):
    return plan_walks(CAMERAS[name], make_people(people, 0), visits, 16 / 9, 12.0, np.random.default_rng(seed))


@pytest.mark.parametrize(("one", "other"), list(combinations(CAMERAS, 2)))
def test_each_camera_sees_the_same_grey_in_another_colour(one, other):
    card = np.full((96, 160, 3), 128, np.uint8)
    seen = [CAMERAS[name].develop(card).mean((0, 1)) for name in (one, other)]
    assert np.abs(seen[0] - seen[1]).max() > 15


@pytest.mark.parametrize("name", CAMERAS)
def test_a_scene_fills_the_size_asked_for(name):
    background = CAMERAS[name].background(160, 96, np.random.default_rng(0))
    assert background.shape == (96, 160, 3)
    assert background.dtype == np.uint8
    assert background.std() > 10


@pytest.mark.parametrize("name", CAMERAS)
def test_the_scene_is_empty_at_first_and_at_the_end(name):
    frames = plan(name)
    assert not any(frames[: round(EMPTY * 12)])
    assert not frames[-1]


@pytest.mark.parametrize("name", CAMERAS)
def test_everyone_crosses_as_often_as_asked_and_never_twice_at_once(name):
    frames = plan(name)
    present = {}
    for number, walkers in enumerate(frames):
        who = [step.person.identity for step in walkers]
        assert len(set(who)) == len(who) <= AT_ONCE
        assert [step.y for step in walkers] == sorted(step.y for step in walkers)
        for identity in who:
            present.setdefault(identity, []).append(number)
    assert set(present) == {"1", "2", "3", "4", "5"}
    for numbers in present.values():
        assert np.count_nonzero(np.diff(numbers) > 1) == 1


@pytest.mark.parametrize("name", CAMERAS)
def test_walkers_come_and_go_outside_the_picture_and_face_where_they_walk(name):
    steps = [step for walkers in plan(name, people=1, visits=1) for step in walkers]
    assert all(not -0.1 < step.x < 1.1 for step in (steps[0], steps[-1]))
    for a, b in pairwise(steps):
        assert abs(b.x - a.x) < 0.05
        if abs(b.x - a.x) > 0.01:
            assert np.sin(a.heading) * (b.x - a.x) > 0


def test_cameras_mostly_show_other_sides_of_people():
    towards = {name: [np.cos(step.heading) for walkers in plan(name, 12) for step in walkers] for name in CAMERAS}
    facing = {name: np.mean(values) for name, values in towards.items()}
    assert facing["hall"] > facing["north"] + 0.1 > facing["gate"] + 0.2
