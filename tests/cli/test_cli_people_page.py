"""The pages of `reid people`, where there is much to show or names are long."""

import re
from pathlib import Path

import pytest

from reid_toolkit.cli import people_page
from reid_toolkit.cli.people_page import map_of, write_timeline
from reid_toolkit.people.visits import Route, Visit
from reid_toolkit.records import Record


def page_of(path: Path, visits: int, records: int) -> str:
    shown = [
        Visit("hall", 1e9 + at, 1e9 + at, tuple(Record(f"v{at}-{n}", "hall") for n in range(records)))
        for at in range(visits)
    ]
    write_timeline(path / "a.html", "Ana", shown)
    return (path / "a.html").read_text(encoding="utf-8")


def test_pictures_of_many_visits_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people_page, "MOST", 20)
    few = page_of(tmp_path, 5, 4)
    assert (few.count("<figure"), "left out" in few, "At most" in few) == (20, False, False)
    some = page_of(tmp_path, 10, 5)
    assert (some.count("<figure"), "At most 2 pictures of each visit." in some) == (20, True)
    many = page_of(tmp_path, 60, 2)
    assert many.count("<figure") == 20
    assert "At most 1 picture of each visit. 40 visits of 60 are left out, evenly over the time." in many
    assert re.findall(r"v(\d+)-0</span>", many)[:3] == ["0", "3", "6"]
    assert many.count("<tr>") == 61  # the table has all


def test_a_long_name_is_cut_to_the_drawing_and_whole_in_a_tooltip() -> None:
    long, wide = "the camera above the northern entrance of the hall, " * 2, "北門の上のカメラ" * 5
    chart = map_of([Route(a, b, 1, 1.0, 2.0, 3.0) for a, b in (("a", long), (long, wide), (wide, "d"))])
    names = {element.findtext("title") or str(element.text): str(element.text) for element in chart.iter("text")}
    assert names["a"] == "a"
    for name in (long, wide):
        assert names[name].endswith("…")
        assert name.startswith(names[name][:-1])
        assert 5 < len(names[name]) < len(name)
