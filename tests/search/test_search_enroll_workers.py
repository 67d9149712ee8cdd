"""Enrolling with several workers: the same records in the same order as without."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_model import build_model

from reid_toolkit.errors import ImageError
from reid_toolkit.gallery import open_gallery
from reid_toolkit.parallel.pool import Pool, ThisProcess
from reid_toolkit.parallel.processes import Processes
from reid_toolkit.runtime import Embedder
from reid_toolkit.search import enroll, units_of
from reid_toolkit.search.enroll import blocks_of


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    onnx.save_model(build_model(), path)
    return path


def enrolled(dataset: Path, model: Path, gallery: Path, pool: Pool | None, bad: list[str] | None) -> list:
    embedder = Embedder(model)
    with open_gallery(str(gallery), embedder.dimension, embedder.fingerprint) as store:
        enroll(store, embedder, list(units_of(dataset)), bad=bad, pool=pool)
        return [
            (record.tracklet, record.camera, vector.tolist())
            for records, vectors in store.records()
            for record, vector in zip(records, vectors, strict=True)
        ]


def test_workers_give_the_same_records_in_the_same_order(tiny_dataset: Path, model: Path, tmp_path: Path) -> None:
    first = sorted((tiny_dataset / "crops").iterdir())[0]
    first.write_bytes(b"no picture")
    results = []
    for name, pool in (("alone", None), ("here", ThisProcess()), ("two", Processes(2, 2))):
        bad: list[str] = []
        results.append(enrolled(tiny_dataset, model, tmp_path / name, pool, bad))
        assert len(bad) == 1
        assert str(first) in bad[0]
    alone, *others = results
    assert alone
    for other in others:
        assert [row[:2] for row in other] == [row[:2] for row in alone]
        np.testing.assert_allclose([row[2] for row in other], [row[2] for row in alone], atol=1e-3)


def test_an_unreadable_picture_ends_the_work_unless_it_may_be_left_out(tiny_dataset, model, tmp_path: Path) -> None:
    sorted((tiny_dataset / "crops").iterdir())[0].write_bytes(b"no picture")
    with pytest.raises(ImageError, match="not an image"):
        enrolled(tiny_dataset, model, tmp_path / "gallery", Processes(2, 2), None)


def test_blocks_keep_the_order_and_hold_about_so_many_crops(tiny_dataset: Path) -> None:
    units = list(units_of(tiny_dataset))
    blocks = blocks_of(units, 10)
    assert [unit for block in blocks for unit in block] == units
    assert len(blocks) > 1
    assert all(sum(len(unit.crops) for unit in block[:-1]) < 10 for block in blocks)
