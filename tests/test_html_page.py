import base64
import re
from html.parser import HTMLParser
from xml.etree.ElementTree import Element

import cv2
import numpy as np

from reid_toolkit.html_page import THUMBNAIL_HEIGHT, Card, Section, Table, page


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def pictures(html: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    return [cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR) for text in found]


def test_the_page_is_one_file_without_script_or_links() -> None:
    html = page("Search", [Section("Matches", rows=((Card(grey(64, 32), ("rank 1",)),),))])
    assert html.startswith("<!DOCTYPE html>")
    assert "<script" not in html
    assert "http" not in html.replace("http-equiv", "")
    assert "prefers-color-scheme: dark" in html


def test_every_tag_is_closed() -> None:
    class Balance(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.stack: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta", "img"):
                self.stack.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.stack.pop() == tag

    table = Table(("rank-1", "name"), (("61.2 %", "a"),))
    checker = Balance()
    checker.feed(page("t", [Section("s", "one\n\ntwo", table, ((Card(None, ("a", "b"), "wrong"),),))]))
    assert checker.stack == []


def test_text_is_escaped_everywhere() -> None:
    evil = '<img src=x onerror="alert(1)">'
    html = page(evil, [Section(evil, evil, Table((evil,), ((evil,),)), ((Card(grey(8, 8), (evil,)),),))])
    assert "<img src=x" not in html
    assert 'onerror="' not in html


def test_marks_are_words_and_not_only_colours() -> None:
    row = tuple(Card(grey(8, 8), (), mark) for mark in ("right", "wrong", "query", None))
    html = page("t", [Section("s", rows=(row,))])
    assert [re.sub(r"\W", "", word) for word in re.findall(r'class="mark">([^<]+)<', html)] == [
        "right",
        "wrong",
        "query",
    ]


def test_pictures_shrink_and_never_grow(tmp_path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), grey(400, 200))
    row = (Card(path), Card(grey(30, 10)), Card(grey(100, 3000)), Card(grey(1, 900)))
    shapes = [picture.shape[:2] for picture in pictures(page("t", [Section("s", rows=(row,))]))]
    assert shapes == [(THUMBNAIL_HEIGHT, 96), (30, 10), (13, 384), (1, 384)]


def test_a_missing_or_broken_picture_is_a_placeholder(tmp_path) -> None:
    broken = tmp_path / "b.jpg"
    broken.write_text("not a picture")
    html = page("t", [Section("s", rows=((Card(tmp_path / "gone.jpg"), Card(broken), Card(None)),))])
    assert html.count("no picture") == 3
    assert pictures(html) == []


def test_numbers_are_told_from_words() -> None:
    html = page(
        "t",
        [
            Section(
                "s",
                table=Table(
                    ("a",),
                    (("61.2 %",), ("-0.5",), ("cam1",), ("",)),
                ),
            )
        ],
    )
    assert html.count('<td class="number">') + html.count("<td class=number>") == 2


def test_names_that_utf8_cannot_write_are_shown_with_question_marks() -> None:
    assert "hall?1" in page("hall\udcff1", [Section("hall\udcff1")])


def test_the_values_of_a_drawing_open_below_it() -> None:
    drawing = Element("svg")
    html = page("P", [Section("Drawn", drawings=(drawing,), values=Table(("a<b", "n"), (("x", "12"),)))])
    assert html.index("<svg") < html.index("<details><summary>Values</summary>") < html.index("a&lt;b")
    assert '<td class="number">12</td>' in html
    assert "<details" not in page("P", [Section("Drawn", drawings=(drawing,))])
