"""``reid evaluate``: measure CMC and mAP of a model on a dataset with known identities."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reid_toolkit.cli.console import log, print_json, progress_bar, warn_bad
from reid_toolkit.cli.options import FILE, FOLDER, MODEL, batch_size, camera_statistics, json_output, skip_bad
from reid_toolkit.cli.paths import PAGE
from reid_toolkit.cli.tables import print_table

if TYPE_CHECKING:
    from reid_toolkit.evaluation.protocol import Evaluation
    from reid_toolkit.evaluation.ranking import Ranking

RANKS = (1, 5, 10, 20)
PAIR = "query → gallery"
PLAIN = "{} without camera statistics"
"""The name of a model's figures without camera statistics, if there are also figures with them."""


@click.command()
@click.argument("model", type=MODEL)
@click.argument("dataset", type=FOLDER)
@click.option(
    "--identities", type=FILE, help="CSV with columns tracklet,identity. [default: the identities of the dataset]"
)
@click.option("--baseline", type=MODEL, help="A second model to compare with.")
@click.option("--html", type=PAGE, help="Write an HTML page with the figures and ranked pictures.")
@camera_statistics
@batch_size
@skip_bad
@json_output
def command(
    model: Path,
    dataset: Path,
    identities: Path | None,
    baseline: Path | None,
    html: Path | None,
    camera_statistics: bool,
    batch_size: int,
    skip_bad: bool,
    as_json: bool,
) -> dict[str, Any]:
    """Measure MODEL (an ONNX file, or a name from `reid models`) on DATASET: rank-1/5/10/20 and mAP, over all cameras
    and per pair of cameras.

    In Market-1501 and MARS layouts, each query is ranked against the gallery split; in other datasets, each tracklet
    against all others. Gallery entries of the query's own person in the query's own camera are left out.

    As in a search, camera statistics of the gallery remove each camera's bias first. Figures without camera statistics
    are shown too.
    """
    from reid_toolkit.camera_statistics import LEAST
    from reid_toolkit.evaluation.html_report import write_report
    from reid_toolkit.evaluation.protocol import embed_dataset, evaluate, free_of_cameras, open_parts
    from reid_toolkit.runtime import Embedder

    parts = open_parts(dataset, identities)
    bad: list[str] | None = [] if skip_bad else None
    results: dict[str, Evaluation] = {}
    with_statistics: set[str] = set()
    for name, path in names_of(model, baseline).items():
        embedder = Embedder(path, batch_size=batch_size)
        embedded = []
        for part in parts:
            with progress_bar(f"embed with {path.name}", "tracklets") as on_progress:
                embedded.append(embed_dataset(embedder, part, bad=bad, on_progress=on_progress))
        query, gallery = embedded[0], embedded[-1]
        freed = free_of_cameras(query, gallery) if camera_statistics else None
        if freed:
            results[name] = evaluate(*freed)
            with_statistics.add(name)
        elif camera_statistics:
            few = (
                f"{name}: no camera statistics were used: expected {LEAST} tracklets of different people in each of "
                "two cameras"
            )
            log.print(few, markup=False, soft_wrap=True)
        results[PLAIN.format(name) if freed else name] = evaluate(query, gallery)
    warn_bad(bad and list(dict.fromkeys(bad)))  # two models, or two splits, report the same crop twice
    if html:
        write_report(html, str(dataset), results)
        log.print(f"report: {html}", markup=False, soft_wrap=True)
    values = {
        name: as_dict(result) | {"camera_statistics": name in with_statistics} for name, result in results.items()
    }
    if as_json:
        print_json(values)
        return values
    for name, result in results.items():
        rows = [("all cameras", *cells(result.overall))]
        for (a, b), ranking in result.pairs.items():
            rows.append((f"{a} → {b}", *(cells(ranking) if ranking else ["nobody in common"])))
        print_table((PAIR, *(f"rank-{k}" for k in RANKS), "mAP", "queries"), rows, fold={PAIR}, title=name)
    return values


def names_of(model: Path, baseline: Path | None) -> dict[str, Path]:
    """A name for each of the two models. They differ, because the figures are kept by name."""
    if not baseline:
        return {model.name: model}
    if model.name != baseline.name:
        return {model.name: model, baseline.name: baseline}
    second = str(baseline) if str(model) != str(baseline) else f"{baseline} (baseline)"
    return {str(model): model, second: baseline}


def cells(ranking: "Ranking") -> list[str]:
    """The table cells of a ranking: percentages with one decimal, and the number of queries."""
    values = [*(ranking.rank(k) for k in RANKS), ranking.mean_ap]
    return [*(f"{100 * value:.1f}" for value in values), str(ranking.queries)]


def as_dict(result: "Evaluation") -> dict[str, Any]:
    """The figures as fractions 0-1, under stable names."""

    def row(ranking: "Ranking") -> dict[str, Any]:
        return {f"rank-{k}": ranking.rank(k) for k in RANKS} | {
            "mAP": ranking.mean_ap, "queries": ranking.queries,
        }  # fmt: skip

    pairs = [
        {"query": a, "gallery": b, **(row(ranking) if ranking else {"queries": 0})}
        for (a, b), ranking in result.pairs.items()
    ]
    return {**row(result.overall), "pairs": pairs}
