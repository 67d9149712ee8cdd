"""The bench of merging, as it is typed, in miniature."""

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
TOOL = Path(__file__).parents[2] / "tools" / "bench_merging.py"


Bench = Callable[..., list[dict]]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """``bench(out, "--data", ...)``: the rows that the bench writes. It runs here, and starts a process for each."""
    monkeypatch.syspath_prepend(TOOL.parent)

    def run(out: Path, *words: object) -> list[dict]:
        monkeypatch.setattr(sys, "argv", [TOOL.name, "--out", str(out), "--dimension", "16", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(TOOL), run_name="__main__")
        assert not left.value.code
        return json.loads(out.read_text())["rows"]

    return run


def test_people_are_merged_beside_the_dense_path(bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "people.json"
    bench(out, "--data", "people", "--sizes", 300, "--paths", "camera_aware")
    rows = bench(out, "--data", "people", "--sizes", 200, "--paths", "reciprocal", "--append")
    assert [(row["path"], row["samples"]) for row in rows] == [("camera_aware", 300), ("reciprocal", 200)]
    for row in rows:
        assert row["merging"]["merges"] + row["merging"]["clusters"] == row["samples"]
        assert row["merging"]["precision"] > 0.5
        assert row["merging"]["ratio_to_merge_clusters"] == pytest.approx(
            row["merging"]["seconds"] / row["merge_clusters"]["seconds"]
        )
        assert row["seconds"] == pytest.approx(row["neighbours"]["seconds"] + row["merging"]["seconds"])
        assert row["setup_seconds"] > 0
    assert not out.with_suffix(".png").exists()


def test_a_row_that_takes_too_long_says_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TOOL.parent)
    import bench_merging

    said = [
        json.dumps({"samples": 9, "setup_seconds": 4.5}),
        json.dumps({"setup_seconds": 4.5, "neighbours": {"seconds": 2.0}}),
    ]

    def late(command: list[str], *, timeout: float, **_: object) -> None:
        asked = json.loads(command[3])
        assert asked["asked_at"] > 1e9
        raise subprocess.TimeoutExpired(command, timeout, output="\n".join(said[: asked["count"]]).encode())

    monkeypatch.setattr(bench_merging.subprocess, "run", late)
    rows = [
        bench_merging.in_a_process({"data": "people", "path": "camera_aware", "count": count}, 10, tf32=False)
        for count in range(3)
    ]
    assert [row["failed"] for row in rows] == ["more than 10 s"] * 3
    assert [row.get("at_least_seconds") for row in rows] == [None, 5.5, 5.5]
    assert bench_merging.line(rows[2]).endswith("more than 10 s; neighbours 2.00 s")


def test_other_data_takes_the_paths_of_merge_clusters(bench: Bench, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    paths = ("dense", "bounded", "hnswlib")
    rows = bench(tmp_path / "m.json", "--append", "--data", "clustered", "--sizes", 200, "--paths", *paths)
    assert [row["path"] for row in rows] == ["dense", "bounded"]
    assert (tmp_path / "m.png").exists()


def test_code_that_is_not_installed_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(TOOL.parent)
    import bench_merging

    monkeypatch.setitem(bench_merging.REFERENCES, "fastcluster", "no_such_package")
    monkeypatch.setattr(sys, "argv", [TOOL.name, "--paths", "fastcluster", "--out", str(tmp_path / "m.json")])
    with pytest.raises(SystemExit) as left:
        bench_merging.main()
    assert not left.value.code
    assert capsys.readouterr().err == "fastcluster: left out: it is not installed\n"


def test_an_index_is_held_against_exact_neighbours() -> None:
    pytest.importorskip("hnswlib")
    workload = runpy.run_path(str(TOOL.with_name("merging_workload.py")))
    row = workload["measure_people"]("hnswlib", 400, 16, "cpu", 1)
    assert len(row["all"]["recall"]) == 1
    assert len(row["cameras"]["recall"]) == 2
    assert min(*row["all"]["recall"], *row["cameras"]["recall"]) > 0.9


def test_a_million_is_one_option_and_wants_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("would run it")
    monkeypatch.syspath_prepend(TOOL.parent)
    monkeypatch.setattr(sys, "argv", [TOOL.name, "--million", "--out", str(tmp_path / "m.json")])
    with pytest.raises(SystemExit, match="1"):
        runpy.run_path(str(TOOL), run_name="__main__")
    assert "error: no CUDA device" in capsys.readouterr().err


def test_shares_are_counted_as_they_are_meant() -> None:
    workload = runpy.run_path(str(TOOL.with_name("merging_workload.py")))
    truth = np.array([[1, 2], [0, -1]])
    assert workload["recall"](np.array([[2, 0], [0, 1]]), truth) == pytest.approx(2 / 3)
    assert workload["pairs"](np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])) == pytest.approx((1 / 3, 1 / 2))
