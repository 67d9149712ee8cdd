"""The HTML page of an evaluation: a table of figures, and ranked matches with pictures for some queries."""

from pathlib import Path

import numpy as np

from reid_toolkit.evaluation.protocol import Evaluation
from reid_toolkit.files import write_atomic
from reid_toolkit.html_page import Card, Mark, Section, Table, page
from reid_toolkit.records import Tracklet
from reid_toolkit.times import format_span

QUERIES = 12
SHOWN = 6
"""Ranked matches shown for each query."""


def write_report(path: Path, title: str, results: dict[str, Evaluation]) -> None:
    """Write one HTML file for one or more models evaluated on the same crops; the first is the model of interest.

    Queries are picked at even intervals of the first model's average precision, from best to worst, so that the page
    also shows its failures. The same queries are shown for every model.
    """
    first = next(iter(results.values()))
    scored = np.flatnonzero(~np.isnan(first.overall.average_precisions))
    ranked = scored[np.argsort(-first.overall.average_precisions[scored], kind="stable")]
    chosen = ranked[np.unique(np.linspace(0, len(ranked) - 1, QUERIES).round().astype(int))]
    names = [first.query.tracklets[i].name for i in chosen]
    write_atomic(path, page(f"Re-identification on {title}", [figures(results), *galleries(results, names)]))


def figures(results: dict[str, Evaluation]) -> Section:
    """Make the table of rank-k and mAP of each model, over all cameras and for each pair of cameras."""
    header = ("model", "query → gallery", "rank-1", "rank-5", "rank-10", "mAP", "queries")
    rows = []
    for name, result in results.items():
        whole = {"all cameras": result.overall} | {f"{a} → {b}": r for (a, b), r in result.pairs.items() if r}
        for where, ranking in whole.items():
            shares = [ranking.rank(1), ranking.rank(5), ranking.rank(10), ranking.mean_ap]
            rows.append((name, where, *(f"{100 * share:.1f}" for share in shares), str(ranking.queries)))
    text = (
        "All figures are in per cent. Each query is ranked against the gallery. Gallery entries of the same person in "
        "the same camera are left out, so every right answer is in another camera.\n\n"
        "Queries follow from the best to the worst, with the first matches of each model: rank, Euclidean distance of "
        "the descriptors (0 to 2), camera, and time (with its zone, or seconds of the recording)."
    )
    return Section("How often the right person is found", text, Table(header, tuple(rows)))


def galleries(results: dict[str, Evaluation], names: list[str]) -> list[Section]:
    """Make a section for each query, with one row of ranked matches per model."""
    sections = []
    for name in names:
        rows, heading = [], ""
        for model, result in results.items():
            query = next(i for i, t in enumerate(result.query.tracklets) if t.name == name)
            precision = result.overall.average_precisions[query]
            tracklet = result.query.tracklets[query]
            heading = f"{tracklet.name}: identity {tracklet.identity}"
            cards = [card(tracklet, (model, f"AP {100 * precision:.0f}%"), "query")]
            for place, (match, distance) in enumerate(matches(result, query), start=1):
                mark: Mark = "right" if match.identity == tracklet.identity else "wrong"
                cards.append(card(match, (f"{place} · {distance:.3f}",), mark))
            rows.append(tuple(cards))
        sections.append(Section(heading, rows=tuple(rows)))
    return sections


def matches(result: Evaluation, query: int) -> list[tuple[Tracklet, float]]:
    """Return the nearest gallery tracklets that the protocol counts for this query, with their distances."""
    own_query = result.query.tracklets[query]
    nearest = []
    for i in np.argsort(result.distances[query], kind="stable"):
        other = result.gallery.tracklets[i]
        own = other.identity == own_query.identity and other.camera == own_query.camera
        if not own and other.identity != "-1":
            nearest.append((other, float(result.distances[query, i])))
        if len(nearest) == SHOWN:
            break
    return nearest


def card(tracklet: Tracklet, lines: tuple[str, ...], mark: Mark | None = None) -> Card:
    """Show the middle crop of a tracklet, its camera and its time."""
    when = format_span(tracklet.start, tracklet.start)
    middle = tracklet.crops[len(tracklet.crops) // 2].path
    return Card(middle, (*lines, f"{tracklet.camera} · {when}" if when else tracklet.camera), mark)
