"""Pages of `reid people`: the visits of a person, and the routes between cameras."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement

from rich.cells import cell_len, set_cell_size

from reid_toolkit.cli.console import counted
from reid_toolkit.cli.search_output import picture_of
from reid_toolkit.files import write_atomic
from reid_toolkit.times import format_span

if TYPE_CHECKING:
    from reid_toolkit.people.visits import Route, Visit

SIDE, RADIUS = 420, 140
"""Pixels: the side of the drawing of routes, and the radius of the circle of cameras."""
THICKEST = 8.0
"""Pixels: the line of the most frequent route."""
PLACES = (0.36, 0.64, 0.44, 0.56)
"""Parts of a line at which its label may be."""
SHOWN = 4
"""At most so many pictures of a visit are on the page."""
MOST = 1000
"""At most so many pictures are on the page: about 8 MB."""
CELL = 6.5
"""Pixels: about the width of a letter in the drawing of routes."""


def write_timeline(path: Path, name: str, visits: "Sequence[Visit]") -> None:
    """Write the visits of a person as one HTML file, with the pictures that exist."""
    from reid_toolkit.html_page import Card, Section, Table, page

    rows = tuple((one.camera, format_span(one.start, one.end), str(len(one.records))) for one in visits)
    of_each = min(SHOWN, max(1, MOST // max(len(visits), 1)))
    step = max(len(visits) / MOST, 1)
    shown = [visits[int(at * step)] for at in range(min(len(visits), MOST))]
    cards = tuple(
        Card(picture_of(record), (one.camera, format_span(record.start, record.end), record.tracklet))
        for one in shown
        for record in one.records[:of_each]
    )
    hidden = ""
    if any(len(one.records) > of_each for one in shown):
        hidden = f"At most {counted(of_each, 'picture')} of each visit. "
    if len(shown) < len(visits):
        hidden += f"{counted(len(visits) - len(shown), 'visit')} of {len(visits):,} are left out, evenly over the time."
    sections = [
        Section("Visits", table=Table(("camera", "time", "records"), rows)),
        Section("Pictures", hidden, rows=(cards,), small=True),
    ]
    write_atomic(path, page(name, sections))


def write_routes(path: Path, routes: "Sequence[Route]") -> None:
    """Write the routes as one HTML file with a drawing and a table."""
    from reid_toolkit.html_page import Section, Table, page

    rows = tuple(
        (one.start, one.end, str(one.moves), f"{one.shortest:.0f}", f"{one.median:.0f}", f"{one.longest:.0f}")
        for one in routes
    )
    words = (
        "Learned from the groups, without labels. A thicker line has more moves. Its number is the median time of both "
        "directions. The cameras are drawn on a circle in the order of their names, not at their real places."
    )
    sections = [
        Section("Drawing", words, drawings=(map_of(routes),)),
        Section("Routes", table=Table(("from", "to", "moves", "seconds: 5%", "median", "95%"), rows)),
    ]
    write_atomic(path, page("Routes between cameras", sections))


def map_of(routes: "Sequence[Route]") -> Element:
    """Draw the cameras on a circle, and a line for each two cameras with moves in either direction."""
    from reid_toolkit.reporting.charts import COLOURS, drawing, text

    cameras = sorted({name for one in routes for name in (one.start, one.end)})
    chart = drawing("routes between cameras", SIDE, SIDE)
    places = {}
    for number, camera in enumerate(cameras):
        angle = 2 * math.pi * number / len(cameras) - math.pi / 2
        places[camera] = SIDE / 2 + RADIUS * math.cos(angle), SIDE / 2 + 10 + RADIUS * math.sin(angle)
    both: dict[tuple[str, str], list[Route]] = {}
    for one in routes:
        both.setdefault((min(one.start, one.end), max(one.start, one.end)), []).append(one)
    most = max((sum(one.moves for one in ways) for ways in both.values()), default=1)
    labels: list[tuple[float, float, str]] = []
    for (start, end), ways in both.items():
        moves = sum(one.moves for one in ways)
        (x1, y1), (x2, y2) = places[start], places[end]
        ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "stroke-width": THICKEST * moves / most}
        line = SubElement(chart, "line", {key: f"{value:.1f}" for key, value in ends.items()})
        line.set("stroke", COLOURS[0])
        line.set("stroke-opacity", "0.55")
        SubElement(line, "title").text = "; ".join(
            f"{one.start} to {one.end}: {one.moves} moves, median {one.median:.0f} s" for one in ways
        )
        median = sum(one.median * one.moves for one in ways) / moves
        # Not in the middle, where the lines of opposite cameras cross, and away from the other labels.
        spots = [(x1 + part * (x2 - x1), y1 + part * (y2 - y1)) for part in PLACES]
        x, y = max(spots, key=lambda spot: min((math.dist(spot, label[:2]) for label in labels), default=0.0))
        labels.append((x, y, f"{median:.0f} s"))
    for x, y, words in labels:
        label = text(chart, x, y + 4, words)
        label.set("paint-order", "stroke")
        label.set("style", "stroke: var(--panel); stroke-width: 4px; stroke-linejoin: round")
    for camera, (x, y) in places.items():
        SubElement(chart, "circle", {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "7", "fill": COLOURS[1]})
        away = 24 if y > SIDE / 2 else -14
        camera_label(chart, x, y + away, camera)
    return chart


def camera_label(chart: Element, x: float, y: float, camera: str) -> None:
    """Write a camera's name around x. One that would not fit into the drawing is cut, and whole in a tooltip."""
    from reid_toolkit.reporting.charts import text

    room = int(2 * min(x, SIDE - x) / CELL)
    fits = cell_len(camera) <= room
    label = text(chart, x, y, camera if fits else f"{set_cell_size(camera, room - 1).rstrip()}…")
    if not fits:
        SubElement(label, "title").text = camera
