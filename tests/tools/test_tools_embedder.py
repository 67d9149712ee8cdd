"""tools/bench_embedder.py: every way gives the same descriptors, and a small run gives a whole table."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_backbone import DIMENSION, SMALL

from reid_toolkit.config import NetworkRecipe, Recipe
from reid_toolkit.export.quantize import descriptor_loss

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def ways() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS))
        import bench_embedder
        import embedder_ways

        yield bench_embedder, embedder_ways


def test_every_way_gives_the_same_descriptors(ways: Any, tmp_path: Path) -> None:
    """Or the comparison would be of different things. PIL resizes by a grey level or two otherwise than OpenCV."""
    bench, made = ways
    files, views = bench.pictures()
    files, views = files[:6], views[:6]
    recipe = Recipe(network=NetworkRecipe(SMALL, weights="none", embedding=8, height=64, width=32))
    sizes = made.make_models(tmp_path, recipe, [view.copy() for view in views])
    assert sizes["int8.onnx"] < sizes["float.onnx"] / 2
    rows, prepared = {}, {}
    for name in ("ours", "ours int8", "torch eager", "torchreid way", made.REFERENCE):
        way = made.WAYS[name](tmp_path, 1, 6)
        rows[name] = way.embed(views)
        assert rows[name].shape == (6, DIMENSION)
        decoded = way.embed([way.decode(content) for content in files])
        assert descriptor_loss(rows[name], decoded) < 0.2, "JPEG loses a little"
        prepared[name] = way.prepare(views)
    np.testing.assert_allclose(rows["ours"], rows["torch eager"], atol=1e-4)
    assert descriptor_loss(rows["torchreid way"], rows[made.REFERENCE]) < 0.2
    for name in rows:
        assert descriptor_loss(rows["ours"], rows[name]) < 0.2
    pixels = np.asarray(prepared["torchreid way"])
    assert np.abs(pixels - prepared[made.REFERENCE]).mean() < 0.05
    assert np.abs(pixels - np.asarray(prepared["torch eager"])).mean() < 0.1


def test_a_small_run(ways: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    bench, made = ways
    out = tmp_path / "embedder.json"
    words = [
        "bench_embedder.py", "--models", "demo", "--ways", "ours", made.REFERENCE, "--sources", "frame",
        "--batches", "2", "1", "--threads", "1", "--seconds", "0.01", "--rounds", "2", "--out", str(out),
    ]  # fmt: skip
    demo = bench.recipe("demo")
    monkeypatch.setattr(bench, "recipe", lambda _: replace(demo, network=replace(demo.network, backbone=SMALL)))
    monkeypatch.setattr(sys, "argv", words)
    bench.main()
    found = json.loads(out.read_text())
    ours, reference, *single = found["rows"]
    assert [(row["batch"], row["way"]) for row in single] == [(1, "ours"), (1, made.REFERENCE)]
    for row, alone in zip((ours, reference), single, strict=True):
        assert row["peak_megabytes"] >= alone["peak_megabytes"], "small batches come first"
    assert (ours["way"], reference["way"], reference["ratio"]) == ("ours", made.REFERENCE, 1.0)
    assert ours["ratio"] == ours["crops_per_second"] / reference["crops_per_second"]
    for row in (ours, reference):
        assert row["peak_megabytes"] > 20
        assert row["p99_milliseconds"] >= row["p50_milliseconds"] > 0
        assert row["decoding_share"] < row["preprocessing_share"]
    assert found["crops"]["count"] == len(bench.pictures()[0])
    text = capsys.readouterr().out
    assert "demo, from frame, batch 2, 1 thread(s)" in text
    assert text.count("\n| ours |") == text.count(f"\n| {made.REFERENCE} |") == 2
