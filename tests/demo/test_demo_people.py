import itertools
import math

import numpy as np
import pytest

from reid_toolkit.demo.figure import draw_figure
from reid_toolkit.demo.people import CLOTHES, MOST_PEOPLE, make_people
from reid_toolkit.errors import InputError

FRONT, BACK = 0.0, math.pi


def test_the_same_seed_makes_the_same_people_and_another_seed_others():
    assert make_people(16, 3) == make_people(16, 3)
    assert make_people(16, 3) != make_people(16, 4)


def test_more_people_begin_with_the_same_ones():
    assert make_people(20, 0)[:5] == make_people(5, 0)


@pytest.mark.parametrize("count", [1, 16, MOST_PEOPLE])
def test_no_two_people_share_an_outfit(count):
    people = make_people(count, 0)
    assert len({person.outfit for person in people}) == count
    assert [person.identity for person in people] == [str(i + 1) for i in range(count)]


def test_some_people_differ_from_another_by_one_cue_only():
    people = make_people(16, 0)
    for model, alike in list(itertools.pairwise(people))[4::6]:
        cues = [(p.top, p.pattern, p.legs_colour) for p in (model, alike)]
        assert sum(a != b for a, b in zip(*cues, strict=True)) == 1


@pytest.mark.parametrize("count", [0, -1, MOST_PEOPLE + 1])
def test_a_count_that_cannot_be_drawn_is_refused(count):
    with pytest.raises(InputError, match=f"people is {count}: expected 1 to"):
        make_people(count, 0)


def test_a_figure_is_as_tall_as_asked_and_its_colours_are_premultiplied():
    for person in make_people(8, 0):
        picture = draw_figure(person, 120, 1.0, 0.3, 0.3).picture
        assert abs(picture.shape[0] - 120 * person.height) < 0.15 * 120
        assert (picture[..., :3].astype(int) <= picture[..., 3:].astype(int) + 1).all()


def test_people_look_different_from_the_front_and_from_behind():
    person = next(p for p in make_people(60, 0) if p.bag == "backpack" and p.bag_colour not in (p.top, p.second))
    colour = np.array(CLOTHES[person.bag_colour])

    def bag_pixels(heading):
        picture = draw_figure(person, 140, heading, 0.0, 0.3).picture.astype(int)
        return np.count_nonzero((abs(picture[..., :3] - colour).max(-1) < 12) & (picture[..., 3] == 255))

    assert bag_pixels(BACK) > 4 * bag_pixels(FRONT)


def test_legs_move_with_the_phase():
    person = make_people(1, 0)[0]
    widths = [draw_figure(person, 140, math.pi / 2, phase, 0.3).picture.shape[1] for phase in (0, math.pi / 2)]
    assert widths[1] > 1.3 * widths[0]
