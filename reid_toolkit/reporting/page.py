"""Writes the page of a run: its figures stage by stage, and pictures of its clusters."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reid_toolkit.errors import InputError, MissingDependencyError
from reid_toolkit.files import write_atomic
from reid_toolkit.html_page import Section, Table, page
from reid_toolkit.reporting.charts import bar_chart, line_chart
from reid_toolkit.reporting.clusters import cluster_sections, plane_section
from reid_toolkit.reporting.stage_evaluation import read_evaluation, read_untrained
from reid_toolkit.reporting.study import Stage, Study, require_stages
from reid_toolkit.training.run_folder import RunFolder
from reid_toolkit.training.selection import RULES, START, select
from reid_toolkit.training.verdict import Verdict, read_verdict

CHARTS: dict[str, dict[str, str]] = {
    "Loss": {"loss": "loss"},
    "Clusters": {"clusters": "clusters", "largest_cluster": "samples in the largest"},
    "Dispersion": {"within": "mean within clusters", "between": "mean between clusters"},
    "A tracklet's halves find each other": {"self_retrieval": "mAP", "self_retrieval_rank_1": "rank-1"},
    "Merged samples whose nearest is in their cluster": {"stability": "stability"},
    "Nearest in another camera / average there": {"across_cameras": "across cameras"},
    "Merges of people seen at once, stopped": {"merges_forbidden": "merges"},
    "Images a second in training": {"images_per_second": "images/s"},
}
"""For each title, the figures of metrics.jsonl and their names in the legend. A chart without a value is left out."""

SCORES = {
    "mAP": "mAP",
    "rank-1": "rank-1",
    "freed_mAP": "mAP, with camera statistics",
    "freed_rank-1": "rank-1, with camera statistics",
}
"""Keys of ``Model.retrieval``, and their names for readers."""

TRUTH_CHARTS: dict[str, dict[str, str]] = {
    "mAP, by identities": {"mAP": "mAP", "freed_mAP": "with camera statistics"},
    "Rank-1, by identities": {"rank-1": "rank-1", "freed_rank-1": "with camera statistics"},
    "Clusters, by identities": {"purity": "purity", "f": "F over pairs"},
}


@dataclass(frozen=True)
class Story:
    """The data of the page about a run, finished or not."""

    folder: RunFolder
    rows: list[dict[str, Any]]
    """One row per stage: its line of metrics.jsonl, with its line of evaluation.jsonl if there is one. The network
    before training comes first if it has a line."""
    kept: int
    """The stage that is kept."""
    kept_by: str
    """The rule of the recipe, or what overruled it."""
    labels: NDArray[np.int64]
    """(N,): the kept stage's clusters."""
    untrained: dict[str, Any] | None = None
    """Scores by identities of the network before training, if they were measured."""
    verdict: Verdict | None = None
    """Comparison of the kept stage with the network before training, without labels; None before the run's end."""

    @property
    def unit(self) -> str:
        """The word for a step of the run: "round" if each step makes new clusters, else "stage"."""
        return "round" if self.folder.recipe().rounds.count else "stage"

    @property
    def kept_row(self) -> dict[str, Any]:
        """The row of the kept stage."""
        return next(row for row in self.rows if row["stage"] == self.kept)


def read_story(run: Path) -> Story:
    """Read a run folder. Raises :class:`reid_toolkit.errors.RunError` if it is no run or has no finished stage."""
    folder = RunFolder(run)
    require_stages(folder)
    metrics = [*folder.start_row(), *folder.load(folder.stages()[-1]).metrics]
    # A run may have stopped between a checkpoint and the files that are made from it.
    model = folder.model() if (folder.path / "model.json").exists() else {}
    verdict = read_verdict(folder) if model else None
    rule = folder.recipe().selection
    untouched = model.get("selection") == "verdict" and metrics[0]["stage"] == START
    kept, kept_by = (START, "comparison without labels") if untouched else (select(metrics, rule), rule)
    evaluations = {(row["stage"], row.get("loss")): row for row in read_evaluation(run)}  # not rows of an earlier run
    untrained = read_untrained(run) if any((row["stage"], row["loss"]) in evaluations for row in metrics) else None
    rows = [
        ((untrained or {}) if row["stage"] == START else evaluations.get((row["stage"], row["loss"]), {})) | row
        for row in metrics
    ]
    return Story(folder, rows, kept, kept_by, folder.load(kept).labels.numpy(), untrained, verdict)


def write_page(
    path: Path, story: Story, study: Study | None, device: torch.device, left_out: Sequence[str] = ()
) -> list[str]:
    """Write the page as one HTML file. Pictures and the plane of descriptors need a ``study``.

    Returns what had to be left out, one sentence each, starting with ``left_out``. The page says the same.
    """
    sections = [summary(story), *gain(story), curves(story), rules(story), sizes(story.labels, story.unit)]
    omitted = list(left_out)
    if study:
        stage = Stage(study, story.kept, device)
        descriptors = stage.features(study.samples).descriptors
        sections += cluster_sections(study, descriptors, story.labels)
        try:
            sections.append(plane_section(study, descriptors.numpy(), story.labels))
        except (MissingDependencyError, InputError) as error:
            omitted.append(f"The plane of descriptors is left out: {error}")
    else:
        omitted.append(
            "Clusters' pictures and the plane of descriptors are left out: give --dataset, the run's training data"
        )
    if omitted:
        sections.append(Section("Left out", "\n\n".join(omitted)))
    write_atomic(path, page(f"Training run {story.folder.path}", sections))
    return omitted


def summary(story: Story) -> Section:
    """Summarise what was trained, how far it is, and which stage is kept."""
    recipe, rows = story.folder.recipe(), story.rows
    kept = story.kept_row
    crops = f"{recipe.network.height}x{recipe.network.width}"
    cells = {
        "samples": f"{len(story.labels):,}".replace(",", " "),
        f"{story.unit}s done": str(sum(row["stage"] != START for row in rows)),
        "clusters": f"{rows[0]['clusters']} → {rows[-1]['clusters']}",
        f"kept {story.unit}": "before training"
        if story.kept == START
        else f"{story.kept} ({kept['clusters']} clusters)",
        "kept by": story.kept_by,
        "network": f"{recipe.network.backbone}, {crops}",
        "seed": str(recipe.seed),
        "time": duration(sum(row.get("seconds", 0) for row in rows)),
    }
    text = f"Compared without labels: {story.verdict.sentence()}." if story.verdict else ""
    return Section("The run", text, table=Table(("figure", "value"), tuple(cells.items())))


def gain(story: Story) -> list[Section]:
    """Compare the kept stage with the network before training, by identities; empty if these were not measured."""
    kept = story.kept_row
    networks = {"before training": story.untrained}
    if story.kept != START:
        networks[f"kept {story.unit} ({story.kept})"] = kept if "mAP" in kept else None
    rows = [
        (name, *(percent(row[score]) if row.get(score) is not None else "-" for score in SCORES))
        for name, row in networks.items()
        if row
    ]
    text = "If camera statistics alone bring the untrained network near the trained one, training has learned little."
    return (
        [Section("Who is found, by identities", text, Table(("network", *SCORES.values()), tuple(rows)))]
        if rows
        else []
    )


def curves(story: Story) -> Section:
    """Draw every figure that any stage has, stage by stage."""
    steps = [row["stage"] for row in story.rows]
    drawings, columns = [], [(story.unit, [str(step) for step in steps])]
    for title, wanted in (CHARTS | TRUTH_CHARTS).items():
        series = {name: [row.get(key) for row in story.rows] for key, name in wanted.items()}
        series = {name: values for name, values in series.items() if any(value is not None for value in values)}
        if series:
            drawings.append(line_chart(title, series, steps, story.kept, step=story.unit))
            for name, line in series.items():
                heading = title if len(series) == 1 else f"{title}: {name}"
                columns.append((heading, ["-" if value is None else f"{value:.4g}" for value in line]))
    before = f"Number {START} is the network before training. " if START in steps else ""
    text = (
        f"The dashed line is the {story.unit} that is kept. {before}Distances are "
        "Euclidean between descriptors, 0 to 2. The charts by identities were measured afterwards: training saw no "
        "identity. A search in a gallery with camera statistics compares as the curves 'with camera statistics' do."
    )
    header, cells = zip(*columns, strict=True)
    values = Table(header, tuple(zip(*cells, strict=True)))
    return Section(f"{story.unit.capitalize()} by {story.unit}", text, drawings=tuple(drawings), values=values)


def rules(story: Story) -> Section:
    """Show the stage that each rule would keep, from figures that need no label."""
    evaluated = any("mAP" in row for row in story.rows)
    header = ("rule", f"keeps {story.unit}", "clusters", *(("mAP", "rank-1") if evaluated else ()))
    table = []
    for rule in RULES:
        row = next(row for row in story.rows if row["stage"] == select(story.rows, rule))
        truth = tuple(both(row, score) if score in row else "-" for score in ("mAP", "rank-1")) if evaluated else ()
        table.append((rule, str(row["stage"]), str(row["clusters"]), *truth))
    text = (
        f"None of the rules reads an identity. The command reid export --stage N takes any {story.unit}. Scores are "
        "with camera statistics, and without them in brackets."
    )
    return Section("What each rule of selection would keep", text, Table(header, tuple(table)))


def sizes(labels: NDArray[np.int64], unit: str) -> Section:
    """Count the clusters of each size."""
    counts = np.bincount(np.bincount(labels))
    bars = {str(size): float(count) for size, count in enumerate(counts[1:10], start=1)}
    edge = 10
    while edge < len(counts):  # 10-19, 20-39, ...
        bars[f"{edge}-{2 * edge - 1}"] = float(counts[edge : 2 * edge].sum())
        edge *= 2
    text = f"The kept {unit} has {int(labels.max()) + 1} clusters of {len(labels)} samples."
    values = Table(("samples", "clusters"), tuple((name, f"{value:.0f}") for name, value in bars.items()))
    chart = bar_chart("Clusters by number of samples", bars)
    return Section("Sizes of clusters", text, drawings=(chart,), values=values)


def both(row: dict[str, Any], score: str) -> str:
    """Format a score as a search has it, with camera statistics, and then without; alone if there are no statistics."""
    freed = row.get(f"freed_{score}")
    return percent(row[score]) if freed is None else f"{percent(freed)} ({percent(row[score])} without)"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"
