import re
from pathlib import Path

import numpy as np
import pytest

from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.manifest import read_identities
from reid_toolkit.evaluation.html_report import QUERIES, SHOWN, matches, write_report
from reid_toolkit.evaluation.protocol import Embedded, Evaluation, evaluate


@pytest.fixture
def results(tiny_dataset: Path) -> dict[str, Evaluation]:
    """The tiny dataset as a good model sees it and as a bad one does (descriptors drawn at random)."""
    dataset = open_dataset(tiny_dataset).with_identities(read_identities(tiny_dataset / "identities.csv"))
    person = np.array([int((t.identity or "")[-1]) for t in dataset.tracklets])
    rng = np.random.default_rng(1)
    found = {}
    for name, noise in (("good.onnx", 0.1), ("bad <0>.onnx", 9.0)):
        rows = np.eye(3)[person] + rng.normal(0, noise, (len(person), 3))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        both = Embedded(dataset.tracklets, rows.astype(np.float32))
        found[name] = evaluate(both, both)
    return found


def test_the_page_holds_figures_and_pictures(tmp_path: Path, results: dict[str, Evaluation]) -> None:
    path = tmp_path / "reports" / "page.html"
    write_report(path, "tiny & small", results)
    html = path.read_text(encoding="utf-8")
    assert "Re-identification on tiny &amp; small" in html
    assert "bad &lt;0&gt;.onnx" in html
    assert "bad <0>" not in html
    assert "<script" not in html
    assert "http" not in html

    cells = re.findall(r"<td[^>]*>([^<]*)</td>", html)
    lines = [cells[i : i + 7] for i in range(0, len(cells), 7)]
    assert [line[:2] for line in lines[:3]] == [
        ["good.onnx", "all cameras"],
        ["good.onnx", "north → south"],
        ["good.onnx", "south → north"],
    ]
    assert lines[0][2:] == ["100.0", "100.0", "100.0", "100.0", "12"]
    bad = results["bad <0>.onnx"].overall
    assert lines[3][2:] == [*(f"{100 * x:.1f}" for x in (bad.rank(1), bad.rank(5), bad.rank(10), bad.mean_ap)), "12"]

    assert html.count("<h2>") == 1 + min(QUERIES, 12)
    assert html.count('class="query"') == 2 * 12, "each query once a model"
    assert html.count('class="right"') + html.count('class="wrong"') == 2 * 12 * SHOWN
    assert html.count("✗ wrong") > 12
    assert "no picture" not in html


def test_times_are_not_said_to_be_utc(
    tmp_path: Path, results: dict[str, Evaluation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REID_TIMEZONE", "Europe/Berlin")
    write_report(tmp_path / "r.html", "a", results)
    assert "UTC" not in (tmp_path / "r.html").read_text()


def test_matches_are_those_the_protocol_counts(results: dict[str, Evaluation]) -> None:
    result = results["good.onnx"]
    asked = result.query.tracklets[0]
    found = matches(result, 0)
    distances = [distance for _, distance in found]
    assert distances == sorted(distances)
    assert not [t for t, _ in found if t.identity == asked.identity and t.camera == asked.camera]
    assert [t.identity == asked.identity for t, _ in found[:3]] == [True, True, False], "2 visits to the other camera"


def test_queries_run_from_the_best_to_the_worst(tmp_path: Path, results: dict[str, Evaluation]) -> None:
    bad = results["bad <0>.onnx"]
    write_report(tmp_path / "page.html", "tiny", {"bad": bad})
    shown = [int(x) for x in re.findall(r"AP (\d+)%", (tmp_path / "page.html").read_text(encoding="utf-8"))]
    assert shown == sorted(shown, reverse=True)
    assert shown[-1] == round(100 * np.nanmin(bad.overall.average_precisions))
    assert shown[0] == round(100 * np.nanmax(bad.overall.average_precisions))
