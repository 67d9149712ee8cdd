"""From a dataset to a file and back, with the smallest model there is."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from crowd import CAMERAS, PEOPLE, TRACKLETS, VISITS, write_clusters, write_crowd
from tiny_model import build_model

from reid_toolkit.calibration import Calibration, beside, load_calibration
from reid_toolkit.calibration.cross_camera import read_clusters
from reid_toolkit.calibration.measure import describe, measure
from reid_toolkit.datasets import open_dataset
from reid_toolkit.errors import DatasetError, ImageError, InputError, ModelError, RunError
from reid_toolkit.images import read_image
from reid_toolkit.runtime import Embedder


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    onnx.save(build_model(), str(path))
    return Embedder(path)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_crowd(tmp_path_factory.mktemp("crowd") / "people")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clusters(tmp_path_factory.mktemp("crowd") / "run")


@pytest.fixture(scope="module")
def alone(embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    """Of one camera."""
    return measure(embedder, open_dataset(write_crowd(tmp_path_factory.mktemp("alone"), cameras=("door",))))


@pytest.fixture(scope="module")
def neighbours(embedder: Embedder, crowd: Path) -> Calibration:
    return measure(embedder, open_dataset(crowd))


@pytest.fixture(scope="module")
def clustered(embedder: Embedder, crowd: Path, run: Path) -> Calibration:
    return measure(embedder, open_dataset(crowd), run)


def test_descriptors_are_those_of_whole_tracklets_and_their_halves(embedder: Embedder, crowd: Path) -> None:
    dataset = open_dataset(crowd)
    found = describe(embedder, dataset)
    assert found.tracklets == dataset.tracklets
    images = [read_image(crop.path) for crop in dataset.tracklets[5].crops]
    for row, part in ((found.whole[5], images), (found.halves[5, 0], images[:2]), (found.halves[5, 1], images[2:])):
        np.testing.assert_allclose(row, embedder.embed_tracklet(part), atol=1e-6)


def test_a_single_crop_has_no_halves(embedder: Embedder, tmp_path: Path) -> None:
    root = write_crowd(tmp_path)
    lines = (root / "manifest.csv").read_text().splitlines()
    (root / "manifest.csv").write_text("\n".join([lines[0], lines[1]]) + "\n")
    found = describe(embedder, open_dataset(root))
    assert np.isnan(found.halves).all()
    assert np.isfinite(found.whole).all()


def test_what_tracklets_alone_tell(alone: Calibration) -> None:
    tracklets = VISITS * PEOPLE
    assert alone.tracklets == alone.within.same == tracklets
    assert alone.within.different == tracklets  # three at once: three pairs a group
    assert alone.across is None
    assert set(alone.pairs) == {("door", "door")}
    near, far = alone.pairs["door", "door"].nearest, alone.pairs["door", "door"].farthest
    assert alone.probability(near, "door", "door", 0.5)[0] > 0.8
    assert alone.probability(far, "door", "door", 0.5) == (pytest.approx(0, abs=0.1), "camera pair")
    # Nothing was learned across cameras, and that is said.
    assert alone.probability(near, "door", "hall", 0.5)[1] == "one camera"


def test_clusters_reach_across_cameras(clustered: Calibration) -> None:
    assert clustered.across is not None
    assert set(clustered.pairs) == {(a, b) for a in CAMERAS for b in CAMERAS if a <= b}
    assert clustered.across.same == 3 * PEOPLE * VISITS * VISITS
    # Cameras differ in light, so the same person is farther there, and the same distance says more.
    assert clustered.across.break_even > clustered.within.break_even
    distance = clustered.pairs["door", "hall"].break_even
    assert clustered.probability(distance, "hall", "door", 0.5) == (pytest.approx(0.5), "camera pair")
    assert clustered.within.probability(clustered.across.break_even, 0.5) < 0.5
    assert clustered.base_rate(TRACKLETS) == pytest.approx(1 / PEOPLE)
    assert clustered.base_rate(1000, people=10) == 0.1
    assert clustered.base_rate(1) == 0.5


def test_without_a_run_neighbours_reach_across_cameras(neighbours: Calibration, clustered: Calibration) -> None:
    assert (neighbours.links, clustered.links) == ("neighbours", "run")
    assert neighbours.across is not None
    assert clustered.across is not None
    assert neighbours.across.same < clustered.across.same
    assert neighbours.probability(0.2, "door", "hall", 0.5)[1] != "one camera"
    # The true shares: of two tracklets of one camera, and of any two.
    assert neighbours.per_person / TRACKLETS == pytest.approx((VISITS - 1) / (VISITS * PEOPLE - 1), rel=0.3)
    assert neighbours.base_rate(10 * TRACKLETS) == pytest.approx(neighbours.base_rate(TRACKLETS) / 10)


def test_a_camera_not_seen_before_is_answered_from_all(clustered: Calibration, alone: Calibration) -> None:
    across, within = clustered.across, clustered.within
    assert across is not None
    # Those curves are of cameras in the middle; of a pair that was seen they are moved to that pair.
    assert across.usual in [one for (a, b), one in clustered.usual.items() if a != b]
    assert clustered.probability(0.3, "roof", "door", 0.1) == (across.probability(0.3, 0.1), "pooled")
    assert clustered.probability(0.3, "roof", "roof", 0.1) == (within.probability(0.3, 0.1), "pooled")
    assert alone.probability(0.3, "roof", "door", 0.1) == (alone.within.probability(0.3, 0.1), "one camera")


def test_of_a_query_from_an_unknown_camera_the_lower_counts(clustered: Calibration, alone: Calibration) -> None:
    across = clustered.across
    assert across is not None
    for distance in (0.05, 0.3, 0.6, 1.0):
        both = [clustered.pairs["door", "door"].probability(distance, 0.1), across.probability(distance, 0.1)]
        assert clustered.probability(distance, None, "door", 0.1)[0] == min(both)
    limits = [clustered.threshold(0.05, camera, "door") for camera in ("door", "roof", None)]
    assert limits[2] == min(limits[:2])
    assert alone.probability(0.3, None, "door", 0.1) == (alone.probability(0.3, "door", "door", 0.1)[0], "one camera")


def test_a_pair_with_too_few_others_is_answered_from_all(clustered: Calibration) -> None:
    own = clustered.pairs["door", "door"]
    within = clustered.within.moved(clustered.usual["door", "door"])
    rate = 1.5 / (within.different + 1)
    assert own.threshold(rate) is None
    assert clustered.threshold(rate, "door", "door") == within.threshold(rate)
    assert clustered.threshold(0.1, "door", "door") == own.threshold(0.1)


def test_a_rate_that_nothing_supports_is_refused(alone: Calibration) -> None:
    count = alone.within.different
    with pytest.raises(InputError, match=f"needs 9999 .* has {count} .*: ask for 0.036 or more") as refused:
        alone.threshold(0.0001, "door", "door")
    assert "\n" not in str(refused.value)
    assert alone.threshold(0.036, "door", "door") == alone.within.quantiles[0]
    for rate in (math.nan, math.inf, 0.0, -0.1):
        with pytest.raises(InputError, match="expected more than 0"):
            alone.threshold(rate, "door", "door")


@pytest.mark.parametrize("query", ["hall", None])
def test_a_rate_across_cameras_is_refused_where_one_alone_is_known(alone: Calibration, query: str | None) -> None:
    with pytest.raises(InputError, match=f"between cameras '{query or 'unknown'}' and 'door': .* only within single"):
        alone.threshold(0.1, query, "door")


@pytest.mark.parametrize("different", [20, 49, 229, 999, 1_234])
def test_the_rate_that_a_refusal_names_is_answered(alone: Calibration, different: int) -> None:
    curve = replace(
        alone.within, different=different, ranks=(1, different), quantiles=(0.5, 0.9), nearest=0.1, farthest=0.9
    )
    one = replace(alone, within=curve, pairs={})
    with pytest.raises(InputError) as refused:
        one.threshold(1e-9, "door", "door")
    named = re.search(r"ask for (\S+) or more", str(refused.value))
    assert named
    assert one.threshold(float(named[1]), "door", "door") == 0.5
    assert float(named[1]) <= 1.1 / (different + 1)


def test_it_reads_no_identity(embedder: Embedder, neighbours: Calibration, crowd: Path) -> None:
    """The same pictures with and without a manifest that names everybody."""
    named = write_crowd(crowd, identities=True)
    assert any(one.identity for one in open_dataset(named).tracklets)
    assert measure(embedder, open_dataset(named)) == neighbours


def test_a_file_and_back(clustered: Calibration, alone: Calibration, tmp_path: Path) -> None:
    for one in (clustered, alone):
        path = beside(tmp_path / "model.onnx")
        one.save(path)
        assert path.name == "model.calibration.json"
        assert load_calibration(path, one.model) == one


def test_files_that_are_none_are_refused(clustered: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    with pytest.raises(ModelError, match="No such file"):
        load_calibration(path, clustered.model)
    clustered.save(path)
    whole = path.read_text()
    with pytest.raises(ModelError, match=r"calibrates model .*, got model 0123"):
        load_calibration(path, "0123")
    for content in ("", "[]", "7", whole[:-40], whole.replace("reid-calibration-1", "reid-calibration-9")):
        path.write_text(content)
        with pytest.raises(ModelError, match=r"not a calibration|damaged"):
            load_calibration(path, clustered.model)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="not a calibration"):
        load_calibration(path, clustered.model)


def test_numbers_without_a_meaning_are_refused(clustered: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    clustered.save(path)
    document = json.loads(path.read_text())
    for per_person in (math.nan, math.inf, 0, -3, 10**400):
        path.write_text(json.dumps({**document, "per_person": per_person}))
        with pytest.raises(ModelError, match="damaged"):
            load_calibration(path, clustered.model)
    path.write_text(json.dumps({**document, "tracklets": math.inf}))
    with pytest.raises(ModelError, match="damaged"):
        load_calibration(path, clustered.model)
    path.write_text("[" * 200_000)
    with pytest.raises(ModelError, match="not a calibration"):
        load_calibration(path, clustered.model)


def places(value: Any, way: tuple = ()) -> list[tuple]:
    """The way to every value in a JSON document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    return [way, *(one for key, child in inside for one in places(child, (*way, key)))]


def test_a_file_damaged_anywhere_is_named_or_read_whole(clustered: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    clustered.save(path)
    document = json.loads(path.read_text())
    refused = 0
    for *way, last in (way for way in places(document) if way):
        for wrong in (None, -1e9, []):
            damaged = json.loads(json.dumps(document))
            at = damaged
            for key in way:
                at = at[key]
            at[last] = wrong
            path.write_text(json.dumps(damaged))
            try:
                found = load_calibration(path, clustered.model)
            except ModelError:
                refused += 1
            else:
                found.probability(0.5, "door", "hall", 0.1)
    assert refused > 100


def test_too_little_to_go_by(embedder: Embedder, tmp_path: Path) -> None:
    timeless = open_dataset(write_crowd(tmp_path, times=False))
    with pytest.raises(InputError, match=r"\d+ distances within a person and 0 between people seen at once"):
        measure(embedder, timeless)


def test_runs_that_do_not_fit(embedder: Embedder, crowd: Path, tmp_path: Path) -> None:
    tracklets = open_dataset(crowd).tracklets
    with pytest.raises(RunError, match="no such file"):
        read_clusters(tmp_path, tracklets)
    foreign = write_clusters(tmp_path / "foreign")
    for content in ("tracklet,camera,cluster\nx,y,0\n", "tracklet,camera,cluster\n"):
        (foreign / "clusters.csv").write_text(content)
        with pytest.raises(RunError, match="expected the run that was trained on this dataset"):
            measure(embedder, open_dataset(crowd), foreign)
    for content in ("a,b\n", "tracklet,camera,cluster\ndoor-0-0,door,many\n"):
        (foreign / "clusters.csv").write_text(content)
        with pytest.raises(RunError, match="damaged"):
            read_clusters(foreign, tracklets)
    (foreign / "clusters.csv").write_text("tracklet,camera,cluster\ndoor-0-0,door,7\nhall-0-0,hall,7\n")
    assert sorted(read_clusters(foreign, tracklets).tolist()) == [-1] * (len(tracklets) - 2) + [7, 7]


def test_a_run_without_clusters_is_no_evidence(embedder: Embedder, crowd: Path, tmp_path: Path) -> None:
    data = open_dataset(crowd)
    rows = [f"{one.name},{one.camera},{number}" for number, one in enumerate(data.tracklets)]
    (tmp_path / "clusters.csv").write_text("\n".join(["tracklet,camera,cluster", *rows]) + "\n")
    with pytest.raises(RunError, match=r"none of its clusters holds two tracklets.* leave --run out"):
        measure(embedder, data, tmp_path)


def test_unreadable_crops_are_named_or_left_out(embedder: Embedder, run: Path, tmp_path: Path) -> None:
    root = write_crowd(tmp_path)
    for frame in range(4):
        (root / "door" / f"door-0-0-{frame}.png").write_bytes(b"text")
    dataset = open_dataset(root)
    with pytest.raises(ImageError, match=r"door-0-0-0\.png"):
        measure(embedder, dataset, run)
    bad: list[str] = []
    found = measure(embedder, dataset, run, bad=bad)
    assert (len(bad), found.tracklets) == (4, TRACKLETS - 1)
    for path in root.glob("*/*.png"):
        path.write_bytes(b"text")
    with pytest.raises(DatasetError, match="none of its crops"):
        measure(embedder, dataset, bad=[])


def test_reading_a_calibration_needs_numpy_alone() -> None:
    program = (
        "import reid_toolkit.calibration, sys\n"
        "print({'torch', 'scipy', 'onnxruntime', 'cv2'} & {name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
