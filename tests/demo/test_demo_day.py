"""Days of drawn people: who is where and when, and what each option changes."""

from collections import defaultdict
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from reid_toolkit.datasets.manifest import read_identities, read_manifest
from reid_toolkit.demo.day import CLOSING, OPENING, Day, Visit, draw_day, plan_day
from reid_toolkit.errors import InputError

SMALL = Day(people=4, cameras=("north", "gate", "hall"), places=(2, 4))
TINY = Day(people=2, cameras=("north", "gate"), stays=(1, 1), places=(2, 2))


def by_person(visits: list[Visit]) -> dict[str, list[Visit]]:
    found: defaultdict[str, list[Visit]] = defaultdict(list)
    for visit in visits:
        found[visit.person.identity].append(visit)
    return found


def at_once(visits: list[Visit]) -> list[tuple[str, str]]:
    """The pairs of cameras in which a person is at the same time."""
    return [
        (one.camera, other.camera)
        for own in by_person(visits).values()
        for one, other in combinations(own, 2)
        if one.start < other.end and other.start < one.end
    ]


def test_the_same_day_gives_the_same_visits() -> None:
    assert plan_day(SMALL) == plan_day(SMALL)
    assert plan_day(SMALL) != plan_day(replace(SMALL, seed=1))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("option", ["people", "all_day", "crowd", "second_coats", "uniforms"])
def test_nobody_is_in_two_places_at_once(seed: int, option: str) -> None:
    assert not at_once(plan_day(replace(SMALL, seed=seed, **{option: 3})))


def test_everybody_comes_within_the_day_and_as_often_as_asked_for() -> None:
    day = replace(SMALL, stays=(2, 2), places=(3, 3))
    visits = plan_day(day)
    assert visits == sorted(visits, key=lambda visit: visit.start)
    assert {person: len(own) for person, own in by_person(visits).items()} == dict.fromkeys("1234", 6)
    for visit in visits:
        assert visit.camera in day.cameras
        assert OPENING <= visit.start - day.midnight < CLOSING + 1800
        assert visit.end > visit.start


def test_uniforms_are_the_same_clothes_on_other_people() -> None:
    looks = {visit.person.identity: visit.person for visit in plan_day(replace(SMALL, uniforms=3))}
    plain = {visit.person.identity: visit.person for visit in plan_day(SMALL)}
    worn = [(looks[name].top, looks[name].legs, looks[name].shoes, looks[name].hat) for name in "1234"]
    assert worn[0] == worn[1] == worn[2] != worn[3]
    assert len({(looks[name].height, looks[name].girth, looks[name].skin) for name in "123"}) == 3
    assert looks["4"] == plain["4"]


def test_second_coats_are_worn_from_the_second_stay_on() -> None:
    day = replace(SMALL, stays=(2, 2), places=(2, 2), second_coats=2)
    for name, own in by_person(plan_day(day)).items():
        looks = [visit.person for visit in own]
        assert looks[0] == looks[1]
        assert looks[2] == looks[3]
        assert (looks[0] != looks[2]) == (name in "12")
        assert (looks[0].height, looks[0].girth, looks[0].skin) == (looks[2].height, looks[2].girth, looks[2].skin)


def test_who_stays_all_day_is_in_the_first_camera_again_and_again() -> None:
    usual, own = (by_person(plan_day(replace(SMALL, all_day=number))) for number in (0, 1))
    hours = {int(visit.start - SMALL.midnight) // 3600 for visit in own["1"] if visit.camera == "north"}
    assert hours == set(range(8, 18))
    assert len(own["1"]) > len(usual["1"]) + 50
    assert all(len(own[name]) < 30 for name in "234")


def test_a_crowd_comes_within_a_minute() -> None:
    first = {name: own[0].start for name, own in by_person(plan_day(replace(SMALL, crowd=3, stays=(1, 1)))).items()}
    nine = SMALL.midnight + 9 * 3600
    assert all(nine <= first[name] < nine + 60 for name in "123")


def test_a_poster_hangs_in_the_first_camera_and_does_not_move() -> None:
    hung = by_person(plan_day(replace(SMALL, poster=True)))["poster"]
    assert len(hung) == 20
    assert {visit.camera for visit in hung} == {"north"}
    assert len({step for visit in hung for step in visit.steps}) == 1
    assert "poster" not in by_person(plan_day(SMALL))


def test_overlapping_cameras_see_people_at_once() -> None:
    visits = plan_day(replace(SMALL, overlapping=("north", "stairs")))
    assert set(at_once(visits)) == {("north", "stairs")}
    north, stairs = ([(one.person, one.start) for one in visits if one.camera == name] for name in ("north", "stairs"))
    assert north == stairs


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("cameras", ("nowhere",), "cameras are"),
        ("cameras", (), "cameras are"),
        ("people", 0, "people is 0"),
        ("overlapping", ("north", "nowhere"), "overlapping is"),
        ("overlapping", ("north", "north"), "overlapping is"),
    ],
)
def test_days_that_cannot_be_drawn(option: str, value: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        plan_day(replace(SMALL, **{option: value}))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("day")
    draw_day(folder, TINY, crops=3)
    return folder


def test_a_drawn_day_is_a_dataset_with_identities_for_exactly_its_tracklets(drawn: Path) -> None:
    dataset, identities = read_manifest(drawn), read_identities(drawn / "identities.csv")
    assert {one.name for one in dataset.tracklets} == set(identities)
    assert set(identities.values()) == {"1", "2"}
    planned = plan_day(TINY)
    assert len(identities) <= len(planned)
    for one in dataset.tracklets:
        assert 1 <= len(one.crops) <= 3
        person = identities[one.name]
        assert any(
            visit.camera == one.camera and visit.person.identity == person
            and all(visit.start <= crop.time <= visit.end for crop in one.crops)
            for visit in planned
        )  # fmt: skip


def test_a_late_clock_moves_the_times_of_its_camera_and_nothing_else(drawn: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    draw_day(
        tmp_path, replace(TINY, late_clock=("gate", 3600.0)), crops=3, on_progress=lambda *given: seen.append(given)
    )
    before, after = read_manifest(drawn).tracklets, read_manifest(tmp_path).tracklets
    assert [one.name for one in before] == [one.name for one in after]
    for one, other in zip(before, after, strict=True):
        ahead = {round(b.time - a.time, 6) for a, b in zip(one.crops, other.crops, strict=True)}
        assert ahead == {3600.0 if one.camera == "gate" else 0.0}
        assert [crop.path.read_bytes() for crop in one.crops] == [crop.path.read_bytes() for crop in other.crops]
    assert seen[-1] == (len(plan_day(TINY)), len(plan_day(TINY)))


def test_a_day_is_drawn_with_its_poster_and_both_views_of_overlapping_cameras(tmp_path: Path) -> None:
    day = replace(TINY, people=1, poster=True, overlapping=("north", "stairs"), cameras=("north",))
    identities = draw_day(tmp_path, day, crops=1)
    cameras = {one.name: one.camera for one in read_manifest(tmp_path).tracklets}
    assert {cameras[name] for name, person in identities.items() if person == "poster"} == {"north"}
    assert {cameras[name] for name, person in identities.items() if person == "1"} == {"north", "stairs"}
