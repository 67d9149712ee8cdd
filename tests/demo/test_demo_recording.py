import math

import numpy as np
import pytest

from reid_toolkit.demo.cameras import CAMERAS
from reid_toolkit.demo.people import make_people
from reid_toolkit.demo.recording import draw_walkers, record
from reid_toolkit.demo.walks import Step

CAMERA = CAMERAS["north"]
PEOPLE = make_people(12, 0)


def picture():
    """A picture without any green, which every person has and no shadow adds."""
    return np.full((288, 512, 3), (200, 0, 200), np.uint8)


def extent(shown):
    """x, y, width, height of what is True."""
    columns, rows = np.flatnonzero(shown.any(0)), np.flatnonzero(shown.any(1))
    return np.array([columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1])


@pytest.mark.parametrize("person", PEOPLE, ids=lambda person: person.identity)
@pytest.mark.parametrize("x", [0.5, 0.005, 0.995])
def test_the_box_is_where_the_person_is_drawn_cut_off_by_the_picture(person, x):
    image = picture()
    [(identity, *box, visible)] = draw_walkers(image, CAMERA, [Step(person, x, 0.8, 1.1, 0.7)])
    assert identity == person.identity
    assert np.abs(extent(image[..., 1] > 8) - box).max() <= 2
    assert visible == 1 if x == 0.5 else visible < 0.9


def test_who_is_nearer_hides_who_is_farther_and_the_box_of_both_is_whole():
    far, near = (Step(person, 0.5, y, 0.0, 0.0) for person, y in zip(PEOPLE, (0.75, 0.78), strict=False))
    [alone] = draw_walkers(picture(), CAMERA, [far])
    hidden, before = draw_walkers(picture(), CAMERA, [far, near])
    assert hidden[:5] == alone[:5]
    assert alone[5] == before[5] == 1
    assert hidden[5] < 0.4


def test_people_outside_the_picture_are_not_in_the_truth():
    assert draw_walkers(picture(), CAMERA, [Step(PEOPLE[0], -0.3, 0.8, 1.1, 0.7)]) == []


def test_people_further_back_are_smaller():
    heights = [draw_walkers(picture(), CAMERA, [Step(PEOPLE[0], 0.5, y, 0.0, 0.0)])[0][4] for y in (0.6, 0.95)]
    assert heights[1] > 1.3 * heights[0]


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_an_empty_scene_stays_still_but_for_its_noise(camera):
    frames = [image for image, _ in record(camera, [[]] * 8, (256, 144), np.random.default_rng(0))]
    noise = np.std(frames, axis=0).mean()
    assert 0.4 * camera.noise < noise < 1.2 * camera.noise
    assert math.isclose(np.mean(frames[0]), np.mean(frames[-1]), abs_tol=0.5)
