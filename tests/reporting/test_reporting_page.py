import json
import re
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from reporting_fixtures import CPU, HOSTILE, Trained

from reid_toolkit.errors import InputError, RunError
from reid_toolkit.html_page import Table
from reid_toolkit.reporting import clusters
from reid_toolkit.reporting.clusters import dispersion, lay_out
from reid_toolkit.reporting.page import Story, curves, duration, read_story, sizes, write_page
from reid_toolkit.reporting.stage_evaluation import NAME, evaluate_stages
from reid_toolkit.reporting.study import open_study
from reid_toolkit.training.run_folder import RunFolder
from reid_toolkit.training.selection import RULES


def headings(html: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", html)


def charts(html: str) -> set[str]:
    return set(re.findall(r'aria-label="([^"]*)"', html))


def test_a_page_of_the_run_alone(trained: Trained, tmp_path: Path) -> None:
    out = tmp_path / "pages" / "a.html"
    story = read_story(trained.run)
    (reason,) = write_page(out, story, None, CPU)
    html = out.read_text(encoding="utf-8")
    assert headings(html) == [
        "The run",
        "Stage by stage",
        "What each rule of selection would keep",
        "Sizes of clusters",
        "Left out",
    ]
    assert "give --dataset" in reason
    assert reason in unescape(html)
    assert {"Loss", "Clusters", "Dispersion", "Images a second in training"} <= charts(html)
    assert "mAP, by identities" not in charts(html)
    assert [row["stage"] for row in story.rows] == [-1, 0, 1, 2]
    assert f"loss, stage 1: {story.rows[2]['loss']:.4g}" in html
    assert all(f"<td>{rule}</td>" in html for rule in RULES)
    assert not [word for word in ("<script", "http", 'src="/') if word in html]


def test_a_page_with_pictures_and_the_truth(trained: Trained, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    study = open_study(trained.run, trained.dataset, trained.identities)
    rows = evaluate_stages(study, CPU)
    story = read_story(trained.run)
    assert write_page(tmp_path / "a.html", story, study, CPU) == []
    html = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert {"mAP, by identities", "Clusters, by identities", "t-SNE"} <= charts(html)
    assert f"mAP, stage 1: {rows[1]['mAP']:.4g}" in html
    counts = np.sort(np.bincount(story.labels))[::-1]
    merged = int((counts > 1).sum())
    shown = [line for line in headings(html) if line.startswith(("Largest", "Most dispersed"))]
    assert next(line for line in shown if f" {counts[0]} samples" in line).startswith("Largest 1:")
    assert len(shown) == 2 * min(merged, clusters.CLUSTERS)
    spread = [float(line.rpartition(" ")[2]) for line in shown if line.startswith("Most dispersed")]
    assert spread == sorted(spread, reverse=True)
    assert html.count("✓ right") + html.count("✗ wrong") == 2 * counts[counts > 1].sum()
    assert html.count("data:image/jpeg") == 2 * counts[counts > 1].sum()
    assert html.count("· cluster ") == 12  # a point each


def test_an_evaluation_of_another_training_is_not_shown(trained: Trained) -> None:
    rows = evaluate_stages(open_study(trained.run, trained.dataset, trained.identities), CPU)
    assert [row["mAP"] for row in read_story(trained.run).rows[1:]] == [row["mAP"] for row in rows]
    rows[1]["loss"] += 1
    (trained.run / NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert ["mAP" in row for row in read_story(trained.run).rows] == [False, True, False, True]


def test_names_are_escaped(trained: Trained, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    write_page(tmp_path / "a.html", read_story(trained.run), open_study(trained.run, trained.dataset, None), CPU)
    html = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert HOSTILE not in html
    assert "&lt;b onclick=alert(1)&gt; (" in html, "among a cluster's cameras"
    assert "· &lt;b onclick=alert(1)&gt; · cluster" in html, "at a point of t-SNE"


def test_an_unfinished_run(trained: Trained, tmp_path: Path) -> None:
    folder = RunFolder(trained.run)
    for stage in (1, 2):
        folder.stage_path(stage).unlink()
    (trained.run / "model.json").unlink()  # stopped between the checkpoint and what is made from it
    (trained.run / "metrics.jsonl").unlink()
    study = open_study(trained.run, trained.dataset, None)
    write_page(tmp_path / "a.html", read_story(trained.run), study, CPU)
    html = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "0 (12 clusters)" in html
    assert not [line for line in headings(html) if line.startswith("Largest")], "nothing is merged yet"
    folder.stage_path(0).unlink()
    with pytest.raises(RunError, match="no stage is done"):
        read_story(trained.run)


def test_without_scikit_learn_the_page_says_what_is_missing(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    study = open_study(trained.run, trained.dataset, None)
    (reason,) = write_page(tmp_path / "a.html", read_story(trained.run), study, CPU)
    assert "needs scikit-learn, which is not installed" in reason
    html = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "Left out" in headings(html)
    assert "t-SNE" not in charts(html)
    assert "Largest 1" in html


def test_a_large_cluster_shows_those_farthest_from_its_middle(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "MEMBERS", 3)
    study = open_study(trained.run, trained.dataset, None)
    descriptors = torch.eye(12)[0].repeat(12, 1) + 0.001 * torch.eye(12)
    descriptors[7] = torch.eye(12)[5]
    (first, _) = clusters.cluster_sections(study, descriptors, np.zeros(12, np.int64))
    (cards,) = first.rows
    assert len(cards) == 3
    assert cards[0].lines[0] == study.samples.tracklets[7].name
    assert "Crops farthest from its middle only" in first.text


def test_a_run_of_rounds_speaks_of_rounds(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    story = read_story(trained.run)
    recipe = story.folder.recipe()
    rounds = replace(recipe, rounds=replace(recipe.rounds, count=3, per_cluster=2))
    monkeypatch.setattr(RunFolder, "recipe", lambda _: rounds)
    write_page(tmp_path / "a.html", story, None, CPU)
    html = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert headings(html)[1] == "Round by round"
    assert "<td>rounds done</td>" in html
    assert f"loss, round 1: {story.rows[2]['loss']:.4g}" in html
    assert "stage" not in re.sub(r"<[^>]*>|--stage", "", html).lower()  # but for the name of an option


def test_dispersion_is_eq_3() -> None:
    rows = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert dispersion(rows) == pytest.approx(2 * 5 / 4)


def test_sizes_are_counted_and_the_large_ones_gathered() -> None:
    labels = np.repeat(np.arange(5), [1, 1, 3, 12, 40])
    (chart,) = sizes(labels, "round").drawings
    found = {str(bar[0].text) for bar in chart.iter("rect")}
    assert {"1: 2", "2: 0", "3: 1", "10-19: 1", "20-39: 0", "40-79: 1"} <= found


def test_values_of_drawings_can_be_read_without_seeing_them() -> None:
    values = sizes(np.repeat(np.arange(3), [1, 1, 12]), "round").values
    assert values is not None
    assert [values.rows[0], values.rows[-1]] == [("1", "2"), ("10-19", "1")]
    rows = [{"stage": 0, "loss": 0.5, "within": 1.0, "between": 1.23456}, {"stage": 1, "loss": None, "within": 2.0}]
    story = SimpleNamespace(rows=rows, kept=0, unit="stage")
    values = curves(cast(Story, story)).values
    assert values == Table(
        ("stage", "Loss", "Dispersion: mean within clusters", "Dispersion: mean between clusters"),
        (("0", "0.5", "1", "1.235"), ("1", "-", "2", "-")),
    )


def test_dispersion_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(7, 3)
    whole = dispersion(rows)
    assert whole == pytest.approx(float(torch.cdist(rows, rows).mean()), rel=1e-5)
    monkeypatch.setattr(clusters, "ROWS_AT_ONCE", 2)
    assert dispersion(rows) == pytest.approx(whole, rel=1e-6)


def test_equal_descriptors_cannot_be_laid_out() -> None:
    with pytest.raises(InputError, match="all descriptors are equal"):
        lay_out(np.ones((20, 4), np.float32))


@pytest.mark.parametrize("content", ["", "[]", '{"verdict": {"word": "better"}}', '{"verdict": "better"}'])
def test_a_damaged_model_json_is_named(trained: Trained, content: str) -> None:
    (trained.run / "model.json").write_text(content)
    with pytest.raises(RunError, match=r"model\.json: damaged"):
        read_story(trained.run)


def test_layout_is_the_same_each_time() -> None:
    pytest.importorskip("sklearn")
    rows = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    assert np.array_equal(lay_out(rows), lay_out(rows))


@pytest.mark.parametrize(("seconds", "words"), [(59.6, "1 min 0 s"), (137, "2 min 17 s"), (7260, "2 h 1 min")])
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
