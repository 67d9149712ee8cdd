"""Jobs in one process; tests/cli/test_cli_embed.py and tests/cli/test_cli_ray.py have several."""

import csv
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_model import DIMENSION

from reid_toolkit.errors import InputError, MissingDependencyError, ReidError, RunError
from reid_toolkit.files import locked
from reid_toolkit.images import read_image
from reid_toolkit.parallel.pool import ThisProcess
from reid_toolkit.records import Crop
from reid_toolkit.runtime import Embedder
from reid_toolkit.runtime.bulk.embedding import embed_crops, embed_shards
from reid_toolkit.runtime.bulk.jobs import LOCK, ShardWorker, open_job
from reid_toolkit.runtime.engine import Engine

Embed = Callable[..., Any]


@pytest.fixture
def crops(tmp_path: Path, picture) -> list[Crop]:
    """Ten pictures, of which the fourth is none and the eighth is not there."""
    found = []
    for number in range(10):
        path = tmp_path / "pictures" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), picture(number, seed=number))
        found.append(Crop(path, "north", f"walk{number // 2}", number, time=number / 4, origin=f"list, line {number}"))
    found[3].path.write_bytes(b"no picture")
    found[7].path.unlink()
    return found


@pytest.fixture
def embed(crops: list[Crop], model: Path, tmp_path: Path) -> Embed:
    """``embed(**changes)`` embeds the crops into ``tmp_path/out`` in shards of four."""

    def run(crops: list[Crop] = crops, out: Path = tmp_path / "out", **changes: Any) -> Any:
        return embed_crops(crops, out, Engine(model, batch_size=3, threads=1), **{"shard_size": 4, **changes})

    return run


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def check_result(out: Path, crops: list[Crop], model: Path) -> None:
    """That ``out`` has each readable crop once, in order, with its own descriptor."""
    good = [crop for number, crop in enumerate(crops) if number not in (3, 7)]
    expected = Embedder(model).embed([read_image(crop.path) for crop in good])
    np.testing.assert_allclose(np.load(out / "descriptors.npy"), expected, atol=1e-6)
    rows = table(out / "manifest.csv")
    assert [row["path"] for row in rows] == [str(crop.path) for crop in good]
    assert [int(row["row"]) for row in rows] == list(range(len(good)))


def test_each_readable_crop_has_its_row_and_the_others_are_named(embed: Embed, crops, model, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = embed()
    check_result(out, crops, model)
    assert table(out / "manifest.csv")[2] == {
        "row": "2", "path": str(crops[2].path), "camera": "north", "tracklet": "walk1", "frame": "2", "time": "0.5",
    }  # fmt: skip
    assert (report.crops, report.embedded, report.bad, report.dimension) == (10, 8, 2, DIMENSION)
    bad = table(out / "bad.csv")
    assert [row["path"] for row in bad] == [str(crops[3].path), str(crops[7].path)]
    assert "list, line 3): not an image" in bad[0]["problem"] == report.first_bad
    assert "no such image file" in bad[1]["problem"]
    assert sorted(os.listdir(out)) == [".lock", "bad.csv", "descriptors.npy", "job.json", "manifest.csv", "report.json"]


def test_a_second_time_there_is_nothing_left_to_do(embed: Embed, crops, tmp_path: Path) -> None:
    first = embed()
    for crop in crops:
        crop.path.unlink(missing_ok=True)
    assert embed() == first


@pytest.mark.parametrize("gone", ["descriptors.npy", "manifest.csv", "bad.csv", "report.json"])
def test_a_result_that_is_gone_is_made_again(embed: Embed, crops, model, tmp_path: Path, gone: str) -> None:
    first, files = embed(), sorted(os.listdir(tmp_path / "out"))
    (tmp_path / "out" / gone).unlink()
    assert embed() == first
    check_result(tmp_path / "out", crops, model)
    assert sorted(os.listdir(tmp_path / "out")) == files


def test_what_is_finished_is_not_done_again(embed: Embed, crops, model, tmp_path: Path, monkeypatch) -> None:
    finished = []

    def stop_after_two(done: int, total: int | None) -> None:
        finished.append(done)
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(on_progress=stop_after_two)
    assert finished == [0, 4, 8]
    seen = []
    run = Embedder.embed
    monkeypatch.setattr(Embedder, "embed", lambda self, images: (seen.extend(images), run(self, images))[1])
    embed(on_progress=lambda done, total: finished.append((done, total)))
    assert len(seen) == 2, "the last shard holds two crops"
    assert finished[3:] == [(8, 10), (10, 10)]
    check_result(tmp_path / "out", crops, model)


def test_one_process_at_a_time_works_on_a_job(embed: Embed, crops, model, tmp_path: Path) -> None:
    embedder = Embedder(model)
    with (
        open_job(tmp_path / "out", crops, embedder.fingerprint, embedder.dimension, 4, "npy"),
        pytest.raises(
            InputError, match=r"out: another process works on a job here: wait for it, .* --workers or --ray"
        ),
    ):
        embed()
    embed()
    check_result(tmp_path / "out", crops, model)


def test_only_who_holds_the_lock_says_what_the_job_is(embed: Embed, crops, model, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out" / LOCK), pytest.raises(InputError, match="another process works on"):
        embed()  # the other process has found no job either, and has not written its own yet
    assert not (tmp_path / "out" / "job.json").exists()
    embed()
    check_result(tmp_path / "out", crops, model)


def test_a_result_of_another_model_is_not_given(embed: Embed, model, tmp_path: Path) -> None:
    embed()
    held = tmp_path / "out" / "job.json"
    other = json.loads(held.read_text())["model"]
    model.write_bytes(model.read_bytes().replace(b"tiny", b"TINY"))
    held.write_text(held.read_text().replace(other, Embedder(model).fingerprint))  # as two that began together left it
    with pytest.raises(
        RunError, match=rf"report\.json: a result of 10 crops and model {other}, .*: delete .*out and run"
    ):
        embed()


def test_claims_of_earlier_versions_do_not_matter(embed: Embed, crops, model, tmp_path: Path) -> None:
    embedder = Embedder(model)
    with open_job(tmp_path / "out", crops, embedder.fingerprint, embedder.dimension, 4, "npy") as job:
        (job.shards / "000001.claim").write_text("another-host 1 0123")
    embed()
    check_result(tmp_path / "out", crops, model)


@pytest.mark.parametrize("change", ["crops", "order", "model", "shard_size", "format"])
def test_another_job_in_the_same_folder_is_refused(embed: Embed, crops, model, tmp_path, change: str) -> None:
    embed()
    held = (tmp_path / "out" / "job.json").read_bytes()
    other = {"crops": {"crops": crops[1:]}, "order": {"crops": crops[::-1]}, "shard_size": {"shard_size": 5}}
    if change == "model":
        model.write_bytes(model.read_bytes().replace(b"tiny", b"TINY"))
    if change == "format":
        pytest.importorskip("pyarrow", reason="needs the parquet extra")
        other["format"] = {"format": "parquet"}
    with pytest.raises(InputError, match=r"out: holds another job \(.* was .*, is .*\): give the same settings"):
        embed(**other.get(change, {}))
    assert (tmp_path / "out" / "job.json").read_bytes() == held


def test_a_folder_of_something_else_is_left_alone(embed: Embed, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds other files"):
        embed(out=tmp_path / "pictures")
    assert not {"job.json", "shards", LOCK} & set(os.listdir(tmp_path / "pictures"))


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_a_damaged_job_is_named(embed: Embed, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "job.json").write_bytes(content)
    with pytest.raises(InputError, match=r"job\.json: damaged"):
        embed()


@pytest.mark.parametrize("content", [b"", b"no zip", "cut", "swap"])
def test_a_damaged_shard_is_named(embed: Embed, model, crops, tmp_path: Path, content: bytes | str) -> None:
    embedder = Embedder(model)
    with open_job(tmp_path / "out", crops, embedder.fingerprint, embedder.dimension, 4, "npy") as job:
        embed_shards(job, ThisProcess(), lambda: ShardWorker(embedder), lambda done, total: None)
    path = job.path("000001")
    other = {"cut": path.read_bytes()[:-50], "swap": job.path("000000").read_bytes()}
    path.write_bytes(other.get(content, content))
    with pytest.raises(RunError, match=r"000001\.npz: a damaged shard: .*: delete it and run"):
        embed()
    path.unlink()
    embed()
    check_result(tmp_path / "out", crops, model)


@pytest.mark.parametrize("content", ["{}", "[" * 100_000])
def test_a_damaged_report_is_named(embed: Embed, tmp_path: Path, content: str) -> None:
    embed()
    (tmp_path / "out" / "report.json").write_text(content)
    with pytest.raises(RunError, match=r"report\.json: damaged"):
        embed()


def test_crops_of_which_none_can_be_read_give_an_empty_result(embed: Embed, crops, tmp_path: Path) -> None:
    assert embed(crops=[crops[3], crops[7]]).embedded == 0
    assert np.load(tmp_path / "out" / "descriptors.npy").shape == (0, DIMENSION)


def test_names_that_are_no_text_come_through(embed: Embed, crops, tmp_path: Path) -> None:
    odd = [replace(crop, path=Path(os.fsdecode(os.fsencode(crop.path.parent) + b"/\xff%d.png" % n))) for n, crop in
           enumerate((crops[0], crops[3]))]  # fmt: skip
    for new, old in zip(odd, (crops[0], crops[3]), strict=True):
        os.link(old.path, new.path)
    embed(crops=odd)
    assert table(tmp_path / "out" / "manifest.csv")[0]["path"].endswith("\\xff0.png")
    assert table(tmp_path / "out" / "bad.csv")[0]["path"].endswith("\\xff1.png")


@pytest.mark.parametrize(
    "wrong",
    [{"crops": []}, {"format": "csv"}, {"shard_size": 0}],
)
def test_wrong_settings_are_refused_before_anything_is_made(embed: Embed, tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(InputError, match="expected 1 or more of each"):
        embed(**wrong)
    assert not (tmp_path / "out").exists()


def test_a_model_that_cannot_be_used_leaves_no_folder(crops, tmp_path: Path) -> None:
    with pytest.raises(ReidError):
        embed_crops(crops, tmp_path / "out", Engine(tmp_path / "gone.onnx"))
    assert not (tmp_path / "out").exists()


def test_parquet_has_the_manifest_and_the_descriptors(embed: Embed, crops, model, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the parquet extra")
    embed(format="parquet")
    found = parquet.read_table(tmp_path / "out" / "descriptors.parquet").to_pydict()
    embed(out=tmp_path / "npy")
    np.testing.assert_array_equal(np.array(found["descriptor"], np.float32), np.load(tmp_path / "npy/descriptors.npy"))
    assert found["path"] == [row["path"] for row in table(tmp_path / "npy/manifest.csv")]
    assert found["path"] == [row["path"] for row in table(tmp_path / "out/manifest.csv")]
    assert found["time"][1] == 0.25


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="pyarrow is installed")
def test_parquet_without_pyarrow_is_refused_before_the_work(embed: Embed, tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match=r"pip install '\.\[parquet\]'; or write \.npy"):
        embed(format="parquet")
    assert not (tmp_path / "out").exists()


FILL = """
import errno, sys
from pathlib import Path
import numpy as np
from reid_toolkit.runtime.bulk.results import WRITERS

path = Path(sys.argv[1])
try:
    with WRITERS[path.suffix[1:]](path, 4000, 512) as write:
        for seed in range(40):
            vectors = np.random.default_rng(seed).normal(size=(100, 512)).astype(np.float32)
            write(vectors, [("path", "camera", "tracklet", 1, None)] * 100)
except OSError as error:
    sys.exit(0 if error.errno == errno.ENOSPC else 3)
"""
"""Writes 8 MB. In a process of its own, because a full disk could kill it."""


@pytest.mark.parametrize("format", ["npy", "parquet"])
def test_a_full_disk_is_an_error_and_leaves_nothing(small_disk: Path, format: str) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow", reason="needs the parquet extra")
    done = subprocess.run([sys.executable, "-c", FILL, small_disk / f"descriptors.{format}"], check=False)
    assert done.returncode == 0
    assert list(small_disk.iterdir()) == []


def test_what_a_killed_process_left_is_removed(embed: Embed, crops, model, tmp_path: Path) -> None:
    embedder = Embedder(model)
    with open_job(tmp_path / "out", crops, embedder.fingerprint, embedder.dimension, 4, "npy") as job:
        pass
    left = (
        job.folder / ".descriptors.0123456789abcdef.partial.npy", job.folder / ".bad.0123456789abcdef.partial.csv",
        job.shards / ".000001.0123456789abcdef.partial.npz",
    )  # fmt: skip
    others = (job.folder / ".notes.partial.txt", job.folder / ".descriptors.npy")
    for path in (*left, *others):
        path.write_bytes(b"x")
    with open_job(tmp_path / "out", crops, embedder.fingerprint, embedder.dimension, 4, "npy"):
        assert [path for path in (*left, *others) if path.exists()] == list(others)
    embed()
    check_result(tmp_path / "out", crops, model)


def test_the_report_on_the_disk_is_the_one_returned(embed: Embed, tmp_path: Path) -> None:
    assert vars(embed()) == json.loads((tmp_path / "out" / "report.json").read_text())


def test_a_job_of_the_same_paths_with_other_names_is_another_job(crops, model, tmp_path: Path) -> None:
    embedder = Embedder(model)
    about = embedder.fingerprint, embedder.dimension, 4, "npy"
    with open_job(tmp_path / "out", crops, *about):
        pass
    for change in ({"tracklet": "another"}, {"camera": "another"}, {"time": 1e9}):
        others = [replace(crops[0], **change), *crops[1:]]
        with pytest.raises(InputError, match="holds another job"), open_job(tmp_path / "out", others, *about):
            pass
