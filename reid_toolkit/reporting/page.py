"""The page of a run: what happened stage by stage, and what its clusters look like."""

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
from reid_toolkit.training.verdict import Verdict

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
"""Title -> figure of metrics.jsonl -> its name in the legend. A chart without a value is left out."""

SCORES = {
    "mAP": "mAP",
    "rank-1": "rank-1",
    "freed_mAP": "mAP, with camera statistics",
    "freed_rank-1": "rank-1, with camera statistics",
}
"""Of ``Model.retrieval``, by what a reader calls them."""

TRUTH_CHARTS: dict[str, dict[str, str]] = {
    "mAP, by identities": {"mAP": "mAP", "freed_mAP": "with camera statistics"},
    "Rank-1, by identities": {"rank-1": "rank-1", "freed_rank-1": "with camera statistics"},
    "Clusters, by identities": {"purity": "purity", "f": "F over pairs"},
}


@dataclass(frozen=True)
class Story:
    """What the page tells of a run, finished or not."""

    folder: RunFolder
    rows: list[dict[str, Any]]
    """A stage each, the network before training first where it has a line: its line of metrics.jsonl, and of
    evaluation.jsonl where that has been made."""
    kept: int
    """The stage that is kept."""
    kept_by: str
    """The recipe's rule, or what overruled it."""
    labels: NDArray[np.int64]
    """(N,): the kept stage's clusters."""
    untrained: dict[str, Any] | None = None
    """What identities say of the network before training, where that was measured."""
    verdict: Verdict | None = None
    """How the kept stage compares with the network before training, without a label; None before the run's end."""

    @property
    def unit(self) -> str:
        """What one step of the run is called: "round" where each begins its clusters anew, else "stage"."""
        return "round" if self.folder.recipe().rounds.count else "stage"

    @property
    def kept_row(self) -> dict[str, Any]:
        """The row of the kept stage."""
        return next(row for row in self.rows if row["stage"] == self.kept)


def read_story(run: Path) -> Story:
    """Read a run folder; :class:`reid_toolkit.errors.RunError` where it is none, or no stage is done."""
    folder = RunFolder(run)
    require_stages(folder)
    metrics = [*folder.start_row(), *folder.load(folder.stages()[-1]).metrics]
    # A run may have been stopped between a checkpoint and what is made from it.
    model = folder.model() if (folder.path / "model.json").exists() else {}
    verdict = Verdict(**model["verdict"]) if model.get("verdict") else None
    rule = folder.recipe().selection
    untouched = model.get("selection") == "verdict" and metrics[0]["stage"] == START
    kept, kept_by = (START, "comparison without labels") if untouched else (select(metrics, rule), rule)
    known = {(row["stage"], row.get("loss")): row for row in read_evaluation(run)}  # not of a run that was here before
    untrained = read_untrained(run) if any((row["stage"], row["loss"]) in known for row in metrics) else None
    rows = [
        ((untrained or {}) if row["stage"] == START else known.get((row["stage"], row["loss"]), {})) | row
        for row in metrics
    ]
    return Story(folder, rows, kept, kept_by, folder.load(kept).labels.numpy(), untrained, verdict)


def write_page(
    path: Path, story: Story, study: Study | None, device: torch.device, left_out: Sequence[str] = ()
) -> list[str]:
    """Write the page as one HTML file; pictures and the plane of descriptors need a ``study``.

    Returns what had to be left out, a sentence each, ``left_out`` before; the page says the same.
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
            "Clusters' pictures and the plane of descriptors are left out: give --dataset, what the run learned from"
        )
    if omitted:
        sections.append(Section("Left out", "\n\n".join(omitted)))
    write_atomic(path, page(f"Training run {story.folder.path}", sections))
    return omitted


def summary(story: Story) -> Section:
    """What was trained, how far it is, and what is kept."""
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
    """The kept stage beside the network before training, by identities; none where those were not measured."""
    kept = story.kept_row
    networks = {"before training": story.untrained}
    if story.kept != START:
        networks[f"kept {story.unit} ({story.kept})"] = kept if "mAP" in kept else None
    rows = [
        (name, *(percent(row[score]) if row.get(score) is not None else "-" for score in SCORES))
        for name, row in networks.items()
        if row
    ]
    text = (
        "Where camera statistics alone bring the untrained network near the trained one, training has learned little."
    )
    return (
        [Section("Who is found, by identities", text, Table(("network", *SCORES.values()), tuple(rows)))]
        if rows
        else []
    )


def curves(story: Story) -> Section:
    """Every figure that any stage has, stage by stage."""
    steps = [row["stage"] for row in story.rows]
    drawings = []
    for title, wanted in (CHARTS | TRUTH_CHARTS).items():
        series = {name: [row.get(key) for row in story.rows] for key, name in wanted.items()}
        series = {name: values for name, values in series.items() if any(value is not None for value in values)}
        if series:
            drawings.append(line_chart(title, series, steps, story.kept, step=story.unit))
    before = f"Number {START} is the network before training. " if START in steps else ""
    text = (
        f"The dashed line is the {story.unit} that is kept. {before}Distances are "
        "Euclidean between descriptors, 0 to 2. The charts by identities were measured afterwards: training saw no "
        "identity. A search in a gallery with camera statistics compares as the curves 'with camera statistics' do."
    )
    return Section(f"{story.unit.capitalize()} by {story.unit}", text, drawings=tuple(drawings))


def rules(story: Story) -> Section:
    """The stage that each rule would keep, from figures that need no label."""
    known = any("mAP" in row for row in story.rows)
    header = ("rule", f"keeps {story.unit}", "clusters", *(("mAP", "rank-1") if known else ()))
    table = []
    for rule in RULES:
        row = next(row for row in story.rows if row["stage"] == select(story.rows, rule))
        truth = tuple(both(row, score) if score in row else "-" for score in ("mAP", "rank-1")) if known else ()
        table.append((rule, str(row["stage"]), str(row["clusters"]), *truth))
    text = (
        f"None of the rules reads an identity. The command reid export --stage N takes any {story.unit}. Scores are "
        "with camera statistics, and without them in brackets."
    )
    return Section("What each rule of selection would keep", text, Table(header, tuple(table)))


def sizes(labels: NDArray[np.int64], unit: str) -> Section:
    """How many clusters there are of each size."""
    counts = np.bincount(np.bincount(labels))
    bars = {str(size): float(count) for size, count in enumerate(counts[1:10], start=1)}
    edge = 10
    while edge < len(counts):  # 10-19, 20-39, ...
        bars[f"{edge}-{2 * edge - 1}"] = float(counts[edge : 2 * edge].sum())
        edge *= 2
    text = f"The kept {unit} has {int(labels.max()) + 1} clusters of {len(labels)} samples."
    return Section("Sizes of clusters", text, drawings=(bar_chart("Clusters by number of samples", bars),))


def both(row: dict[str, Any], score: str) -> str:
    """A score as a search has it, with camera statistics, and without them; alone where there are none."""
    freed = row.get(f"freed_{score}")
    return percent(row[score]) if freed is None else f"{percent(freed)} ({percent(row[score])} without)"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"
