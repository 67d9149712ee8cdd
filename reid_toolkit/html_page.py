"""A page of pictures as one HTML file: no script, nothing fetched, light and dark.

    page("Search", [Section("Matches", rows=((Card(Path("a.jpg"), ("rank 1", "0.41"), "right"),),))])

A mark is drawn as a border and written as a word, so that it does not rest on colour alone.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element, tostring

import cv2

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


def page(title: str, sections: Sequence[Section]) -> str:
    """The whole page as one HTML document, pictures inside. All text is escaped."""
    body = "\n".join(map(section_html, sections))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def section_html(section: Section) -> str:
    parts = [f"<h2>{escape(section.heading)}</h2>"]
    parts += [f"<p>{escape(text.strip())}</p>" for text in section.text.split("\n\n") if text.strip()]
    if section.table:
        parts.append(table_html(section.table))
    if section.drawings:
        parts.append(
            f'<div class="charts">{"".join(tostring(one, encoding="unicode") for one in section.drawings)}</div>'
        )
    for row in section.rows:
        parts.append(f'<div class="row{" small" if section.small else ""}">{"".join(map(card_html, row))}</div>')
    return "<section>\n" + "\n".join(parts) + "\n</section>"


def table_html(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    rows = "\n".join("<tr>" + "".join(map(cell_html, row)) + "</tr>" for row in table.rows)
    return f'<div class="table"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'


def cell_html(text: str) -> str:
    number = text.strip(" %+-").replace(".", "", 1).isdigit()
    return f"<td{' class=number' if number else ''}>{escape(text)}</td>"


def card_html(card: Card) -> str:
    kind = f' class="{card.mark}"' if card.mark else ""
    mark = f'<span class="mark">{MARK_WORDS[card.mark]}</span>' if card.mark else ""
    caption = "".join(f"<span>{escape(line)}</span>" for line in card.lines)
    alt = escape(", ".join(card.lines))
    data = thumbnail(card.picture)
    picture = (
        f'<img alt="{alt}" src="data:image/jpeg;base64,{data}">' if data else '<div class="missing">no picture</div>'
    )
    return f"<figure{kind}>{picture}<figcaption>{mark}{caption}</figcaption></figure>"


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


STYLE = """
:root { --paper: #fff; --ink: #1c1e21; --soft: #5c636b; --line: #d9dde2; --panel: #f5f6f8;
        --right: #1a7f37; --wrong: #c62828; --query: #3b5bdb; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15171a; --ink: #e6e8eb; --soft: #9aa2ab; --line: #353a41; --panel: #1e2125;
          --right: #4cc26a; --wrong: #ff7b72; --query: #91a7ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 3rem) 4rem; max-width: 90rem;
       background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 1rem; font-size: 1.6rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 2rem 0 .5rem; font-size: 1.1rem; overflow-wrap: anywhere; }
p { margin: .3rem 0; max-width: 46rem; color: var(--soft); overflow-wrap: anywhere; }
.table { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; }
th, td { padding: .35rem .9rem; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.row { display: flex; flex-wrap: wrap; gap: .75rem; margin: .75rem 0; }
figure { margin: 0; width: 9rem; padding: .5rem; border: 2px solid var(--line); border-radius: 8px;
         background: var(--panel); }
img, .missing { display: block; width: 100%; height: 10rem; object-fit: contain; border-radius: 4px; }
.missing { display: grid; place-items: center; border: 1px dashed var(--line); color: var(--soft); }
figcaption { margin-top: .4rem; font-size: .8rem; line-height: 1.35; color: var(--soft); }
figcaption span { display: block; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
figcaption span:not(.mark):first-child, .mark + span { color: var(--ink); font-weight: 600; }
.mark { font-weight: 700; }
figure.right { border-color: var(--right); } .right .mark { color: var(--right); }
figure.wrong { border-color: var(--wrong); border-style: dashed; } .wrong .mark { color: var(--wrong); }
figure.query { border-color: var(--query); } .query .mark { color: var(--query); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); gap: .75rem; }
.charts > svg { width: 100%; max-width: 100%; height: auto; }
.charts > svg:only-child { width: auto; grid-column: 1 / -1; }
svg { background: var(--panel); border-radius: 8px; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg .title { fill: var(--ink); font-weight: 600; font-size: 12px; }
svg .grid { stroke: var(--line); } svg .mark { stroke: var(--soft); stroke-dasharray: 4 3; }
.small { gap: .4rem; } .small figure { width: 6.4rem; padding: .3rem; } .small img, .small .missing { height: 7rem; }
@media (max-width: 30rem) { figure { width: calc(50% - .375rem); }
  .small figure { width: calc(25% - .3rem); } .small img, .small .missing { height: 6rem; } }
@media print { figure, tr { break-inside: avoid; } }
"""
