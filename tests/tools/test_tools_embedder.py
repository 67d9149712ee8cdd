"""tools/bench_embedder.py: every way gives the same descriptors, and a small run gives a whole table."""

import json
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_backbone import DIMENSION, SMALL

from reid_toolkit.config import NetworkRecipe, Recipe
from reid_toolkit.export.quantize import descriptor_loss
from reid_toolkit.runtime.preprocess import to_batch
from reid_toolkit.training.network import standardise, to_rgb

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def ways() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS))
        import bench_embedder
        import embedder_ways

        yield bench_embedder, embedder_ways


@pytest.mark.slow
def test_every_way_gives_the_same_descriptors(ways: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the comparison would be of different things. PIL resizes by a grey level or two otherwise than OpenCV."""
    bench, made = ways
    files, views = bench.pictures()
    files, views = files[:6], views[:6]
    recipe = Recipe(network=NetworkRecipe(SMALL, weights="none", embedding=8, height=64, width=32))
    sizes = made.make_models(tmp_path, recipe, [view.copy() for view in views])
    assert sizes["int8.onnx"] < sizes["float.onnx"] / 2
    assert made.make_models(tmp_path / "less", recipe, [view.copy() for view in views], ["ours"]).keys() == {
        "float.onnx"
    }
    rows, prepared = {}, {}
    names = ["ours", "ours int8", "torch eager", "torchreid way", made.REFERENCE, "onnxruntime + OpenCV"]
    if not bench.missing("ours, openvino"):
        names += ["ours, openvino", "ours, chosen"]
    monkeypatch.setenv("REID_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("REID_PROVIDER")
    for name in names:
        way = made.WAYS[name](tmp_path, 1, 6)
        rows[name] = way.embed(views)
        assert rows[name].shape == (6, DIMENSION)
        decoded = way.embed([way.decode(content) for content in files])
        assert descriptor_loss(rows[name], decoded) < 0.2, "JPEG loses a little"
        prepared[name] = way.prepare(views)
        assert (getattr(way, "choice", None) is not None) is (name == "ours, chosen")
    np.testing.assert_allclose(rows["ours"], rows["torch eager"], atol=1e-4)
    assert descriptor_loss(rows["torchreid way"], rows[made.REFERENCE]) < 0.2
    for name in rows.keys() & {"ours, openvino", "ours, chosen"}:
        np.testing.assert_allclose(rows["ours"], rows[name], atol=1e-5)
    for name in rows:
        assert descriptor_loss(rows["ours"], rows[name]) < 0.2
    pixels = np.asarray(prepared["torchreid way"])
    assert np.abs(pixels - prepared[made.REFERENCE]).mean() < 0.05
    assert np.abs(pixels - np.asarray(prepared["torch eager"])).mean() < 0.1


def test_opencv_and_numpy_prepare_what_torch_gets(ways: Any) -> None:
    bench, made = ways
    views = [view[:40, :20] for view in bench.pictures()[1][:3]]  # smaller, because we shrink by other means
    way = object.__new__(made.OnnxOpenCv)
    way.size = (64, 32)
    expected = standardise(to_rgb(torch.from_numpy(to_batch(views, 64, 32))))
    np.testing.assert_allclose(way.prepare(views), expected.numpy(), atol=1e-5)


@pytest.mark.slow
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


def test_a_way_that_fails_is_left_out_with_the_reason(
    ways: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench, _ = ways
    names = ["ours", "ours, TensorRT", "openvino, our file", "torch eager"]
    options = Namespace(
        ways=names, models=["demo"], rounds=2, threads=[1], sources=["frame"], batches=[1], seconds=0.1, timeout=9.0
    )
    written: list[tuple[list[str], dict[str, str]]] = []
    asked: list[str] = []

    def measured(task: dict[str, Any], timeout: float) -> list[dict[str, Any]]:
        asked.append(task["way"])
        if task["way"] == "ours, TensorRT":
            raise bench.WayError("runs on the CPU")
        figures = (
            "p50_milliseconds",
            "p99_milliseconds",
            "processor_milliseconds",
            "decoding_share",
            "preprocessing_share",
            "peak_megabytes",
        )
        case = {"source": "frame", "batch": 1, "crops_per_second": 10.0 * len(asked)} | dict.fromkeys(figures, 1.0)
        return [case | ({"choice": {"why": "slower"}} if task["way"] == "ours" else {})]

    monkeypatch.setattr(bench, "missing", lambda way: "no package" if way.startswith("openvino") else "")
    monkeypatch.setattr(bench, "make_models", lambda *_: {})
    monkeypatch.setattr(bench, "in_a_process", measured)
    rows = bench.run(options, tmp_path, lambda rows, why: written.append(([row["way"] for row in rows], dict(why))))
    assert asked == ["ours", "ours, TensorRT", "torch eager", "ours", "torch eager"], "what failed is not tried again"
    assert [(row["way"], row["crops_per_second"]) for row in rows] == [("ours", 25.0), ("torch eager", 40.0)]
    assert [row.get("choice") for row in rows] == [{"why": "slower"}, None]
    nothing = {"openvino, our file": "no package"}
    assert written[:2] == [([], nothing), (["ours"], nothing)], "rows are written as they come"
    assert written[-1] == (["ours", "torch eager"], nothing | {"ours, TensorRT": "runs on the CPU"})


def test_a_process_that_fails_or_takes_too_long_says_so(ways: Any) -> None:
    bench, _ = ways
    with pytest.raises(bench.WayError, match="KeyError: 'no such way'"):
        bench.in_a_process(
            {"folder": ".", "way": "no such way", "sources": [], "batches": [1], "threads": 1, "seconds": 0}, 60
        )
    with pytest.raises(bench.WayError, match=r"more than 0\.01 s"):
        bench.in_a_process({"threads": 1}, 0.01)
