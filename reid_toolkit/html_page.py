"""A page of pictures as one HTML file: no script, nothing fetched, light and dark.

    page("Search", [Section("Matches", rows=((Card(Path("a.jpg"), ("rank 1", "0.41"), "right"),),))])

A mark is drawn as a border and written as a word, so that it does not rest on colour alone.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element, tostring

import cv2
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from reid_toolkit.errors import ImageError
from reid_toolkit.images import Image, read_image, resize

Mark = Literal["right", "wrong", "query"]

MARK_WORDS: dict[Mark, str] = {"right": "✓ right", "wrong": "✗ wrong", "query": "query"}
THUMBNAIL_HEIGHT = 192
"""Pixels: twice the height on the page, for dense screens; a person crop then costs about 8 kB."""


@dataclass(frozen=True, slots=True)
class Card:
    """One picture with its caption."""

    picture: Image | Path | None
    """(H, W, 3) uint8 BGR, or an image file. None, or a file that cannot be read: a placeholder."""
    lines: tuple[str, ...] = ()
    """The caption; its first line is set in bold."""
    mark: Mark | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Cells are text; those that read as numbers are set to the right."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, then what it has of text, table, drawings and rows of cards, in this order."""

    heading: str
    text: str = ""
    """An empty line begins a new paragraph."""
    table: Table | None = None
    rows: tuple[tuple[Card, ...], ...] = ()
    """Each row wraps where the window is narrow."""
    small: bool = False
    """Whether the cards are small: many of one person, which are looked at together."""
    drawings: tuple[Element, ...] = ()
    """SVG elements, side by side where the window is wide."""
    values: Table | None = None
    """What the drawings show, for who cannot see or point at them. It opens below them."""

    @property
    def paragraphs(self) -> list[str]:
        """The paragraphs of ``text``."""
        return [part.strip() for part in self.text.split("\n\n") if part.strip()]


def page(title: str, sections: Sequence[Section]) -> str:
    """The whole page as one HTML document, pictures inside. The template escapes all text.

    What UTF-8 cannot write, such as names of files that are not valid UTF-8, becomes question marks."""
    text = template().render(title=title, sections=sections, mark_words=MARK_WORDS) + "\n"
    return text.encode(errors="replace").decode()


@cache
def template() -> Template:
    """``templates/page.html``, compiled once."""
    environment = Environment(
        loader=PackageLoader("reid_toolkit"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {
        "thumbnail": thumbnail,
        "svg": svg,
    }
    environment.tests["like_number"] = like_number
    return environment.get_template("page.html")


def svg(drawing: Element) -> Markup:
    """A drawing as it stands in the page: an element tree has escaped its text already."""
    return Markup(tostring(drawing, encoding="unicode"))


def like_number(text: str) -> bool:
    """Whether a table's cell reads as a number, and so is set to the right."""
    return text.strip(" %+-").replace(".", "", 1).isdigit()


def thumbnail(picture: Image | Path | None) -> str:
    """``picture`` as a small JPEG in base64; empty when there is none."""
    if isinstance(picture, Path):
        try:
            picture = read_image(picture)
        except ImageError:
            return ""
    if picture is None:
        return ""
    height, width = picture.shape[:2]
    # A frame wider than two heights is cut to that, or one panorama would fill the row.
    scale = min(THUMBNAIL_HEIGHT / height, 2 * THUMBNAIL_HEIGHT / width, 1.0)
    small = resize(picture, max(round(height * scale), 1), max(round(width * scale), 1))
    encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return base64.b64encode(encoded.tobytes()).decode("ascii")
