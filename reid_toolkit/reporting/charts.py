"""Charts as SVG elements for a page, without script, readable in light and dark. The element tree escapes all text."""

import math
from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement

WIDTH, HEIGHT = 360, 230
"""Pixels. Three charts fit side by side on a usual screen."""
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 34, 44
"""Pixels around the axes, for numbers and title, and for the legend below."""
COLOURS = ("#3b82c4", "#d9822b")
"""Colours of a chart's one or two lines. They differ on white and on black, and for people with colour blindness."""

LETTER = 6.2
"""Pixels: about the width of a letter of a label."""


def line_chart(
    title: str,
    series: Mapping[str, Sequence[float | None]],
    steps: Sequence[int],
    mark: int | None = None,
    step: str = "stage",
) -> Element:
    """Draw one line or two over ``steps``. Each value is a point with its name; None has no point.

    ``mark`` is a step to mark with a dashed line; ``step`` is the word for a step. The axis of values includes 0 unless
    all values are far from it.
    """
    values = [value for line in series.values() for value in line if value is not None]
    low, high = bounds(values)
    chart, x, y = axes(title, (min(steps), max(steps)), (low, high))
    marked = ticks(low, high)
    for value, label in zip(marked, labels(marked), strict=True):
        rule(chart, x(min(steps)), y(value), x(max(steps)), y(value), "grid")
        text(chart, LEFT - 6, y(value) + 4, label, anchor="end")
    for place in steps[:: 1 + (len(steps) - 1) // 10]:
        text(chart, x(place), HEIGHT - BOTTOM + 16, str(place))
    if mark is not None:
        rule(chart, x(mark), TOP, x(mark), HEIGHT - BOTTOM, "mark")
    for (name, line), colour in zip(series.items(), COLOURS, strict=False):
        points = [
            (x(place), y(value), place, value) for place, value in zip(steps, line, strict=True) if value is not None
        ]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b, _, _ in points)
        SubElement(chart, "polyline", {"points": path, "stroke": colour, "fill": "none", "stroke-width": "2"})
        for a, b, place, value in points:
            dot(chart, a, b, 2.6, colour, f"{name}, {step} {place}: {value:.4g}")
    legend(chart, list(series))
    return chart


def bar_chart(title: str, bars: Mapping[str, float]) -> Element:
    """Draw a bar for each name, with its value above it. If they are too long for their bars, they are turned."""
    longest = max(len(words) for name, value in bars.items() for words in (name, number(value)))
    turned = LETTER * longest > (WIDTH - LEFT - RIGHT) / len(bars)
    chart, x, y = axes(title, (0, len(bars)), (0, (1.3 if turned else 1.1) * max(bars.values())))
    width = x(1) - x(0)
    for place, (name, value) in enumerate(bars.items()):
        top = y(value)
        place_and_size = {"x": x(place) + width * 0.12, "y": top, "width": width * 0.76, "height": y(0) - top}
        bar = SubElement(chart, "rect", {key: f"{value:.1f}" for key, value in place_and_size.items()})
        bar.set("fill", COLOURS[0])
        SubElement(bar, "title").text = f"{name}: {number(value)}"
        if value:
            bar_label(chart, x(place + 0.5), top - 4, number(value), "start" if turned else "middle")
        bar_label(chart, x(place + 0.5), HEIGHT - BOTTOM + (12 if turned else 16), name, "end" if turned else "middle")
    rule(chart, x(0), y(0), x(len(bars)), y(0), "grid")
    return chart


def scatter(title: str, points: Sequence[tuple[float, float]], names: Sequence[str], groups: Sequence[int]) -> Element:
    """Draw points on a square plane, each with its name as a tooltip. ``groups`` colour them; -1 is for the rest."""
    side = 2 * WIDTH
    chart = drawing(title, side, side + TOP)
    (left, right), (bottom, top) = ((min(column), max(column)) for column in zip(*points, strict=True))
    scale = (side - 24) / (max(right - left, top - bottom) or 1)
    drawn = sorted(zip(points, names, groups, strict=True), key=lambda point: point[2] >= 0)  # the rest underneath
    for (a, b), name, group in drawn:
        colour = f"hsl({group * 137.5 % 360:.0f} 62% 52%)" if group >= 0 else "var(--line)"
        dot(chart, 12 + (a - left) * scale, TOP + 12 + (top - b) * scale, 4.2, colour, name)
    return chart


def axes(title: str, across: tuple[float, float], upward: tuple[float, float]) -> tuple[Element, "Scale", "Scale"]:
    """Make an empty chart and its two scales."""
    x = Scale(*across, LEFT, WIDTH - RIGHT)
    return drawing(title, WIDTH, HEIGHT), x, Scale(*upward, HEIGHT - BOTTOM, TOP)


class Scale:
    """Maps values to pixels. If the range is a single value, it maps to the middle."""

    def __init__(self, low: float, high: float, first: float, last: float) -> None:
        self.low, self.span, self.first, self.last = low, high - low, first, last

    def __call__(self, value: float) -> float:
        share = (value - self.low) / self.span if self.span else 0.5
        return self.first + share * (self.last - self.first)


def bounds(values: Sequence[float]) -> tuple[float, float]:
    """Return the range of the axis of values: from 0, unless all values would then be in the upper half."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if 0 <= low < high / 2 or low == high:
        low = min(0.0, low)
    return (low, high) if high > low else (low, low + 1)


def ticks(low: float, high: float) -> list[float]:
    """Return about four round numbers within the range."""
    rough = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor > 0.999 * rough)
    return [step * place for place in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def labels(marked: Sequence[float]) -> list[str]:
    """Write :func:`ticks` with as many decimals as their step needs."""
    step = marked[1] - marked[0] if len(marked) > 1 else 1.0
    decimals = next((count for count in range(10) if abs(round(step, count) - step) < 0.01 * step), 10)
    return [f"{value:,.{decimals}f}" for value in marked]


def number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def drawing(title: str, width: float, height: float) -> Element:
    """Make an empty drawing of this size in pixels, with its title in the corner."""
    chart = Element(
        "svg", {"viewBox": f"0 0 {width} {height}", "width": str(width), "role": "img", "aria-label": title}
    )
    text(chart, 4, 16, title, anchor="start").set("class", "title")
    return chart


def legend(chart: Element, names: Sequence[str]) -> None:
    """Write one row under the axes. A single line needs no legend, because the title names it."""
    if len(names) > 1:
        for place, (name, colour) in enumerate(zip(names, COLOURS, strict=False)):
            x, y = LEFT + (WIDTH - LEFT) / len(names) * place, HEIGHT - 10
            SubElement(chart, "circle", {"cx": f"{x:.1f}", "cy": str(y - 4), "r": "4", "fill": colour})
            text(chart, x + 9, y, name, anchor="start")


def text(chart: Element, x: float, y: float, content: str, anchor: str = "middle") -> Element:
    """Write text at a place in pixels. ``anchor`` is "start", "middle" or "end"."""
    element = SubElement(chart, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor})
    element.text = content
    return element


def bar_label(chart: Element, x: float, y: float, content: str, anchor: str) -> None:
    """Write text of a bar. It is turned, so that it needs no more than a line across, unless it is in the middle."""
    element = text(chart, x, y, content, anchor)
    if anchor != "middle":
        element.set("transform", f"rotate(-50 {x:.1f} {y:.1f})")


def rule(chart: Element, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    SubElement(chart, "line", {**{key: f"{value:.1f}" for key, value in ends.items()}, "class": kind})


def dot(chart: Element, x: float, y: float, radius: float, colour: str, name: str) -> None:
    circle = SubElement(chart, "circle", {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": str(radius), "fill": colour})
    SubElement(circle, "title").text = name
