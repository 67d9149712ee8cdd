"""What a network wants, found out on footage without a label."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from third_party import CHANNELS, build, save

from reid_toolkit.adopt.adoption import adopt, doubts
from reid_toolkit.adopt.choosing import LEAST_TRACKLETS, Choice, Trial, choose
from reid_toolkit.adopt.contract import PRESETS, preset
from reid_toolkit.adopt.known import Recognised
from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.dataset import Dataset
from reid_toolkit.datasets.manifest import write_manifest
from reid_toolkit.demo.crops import draw_crops
from reid_toolkit.errors import InputError
from reid_toolkit.records import Crop

PEOPLE = 24


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two cameras, each of which sees twelve people at once, four noisy crops each."""
    root = tmp_path_factory.mktemp("footage")
    rng, crops = np.random.default_rng(0), []
    for number, picture in enumerate(draw_crops(PEOPLE)):
        for frame in range(4):
            noisy = np.clip(picture + rng.normal(0, 12, picture.shape) + rng.normal(0, 6), 0, 255).astype(np.uint8)
            path = root / f"{number}_{frame}.png"
            cv2.imwrite(str(path), noisy)
            crops.append(Crop(path, "ab"[number % 2], f"t{number}", frame=frame, time=1e9 + frame))
    write_manifest(root, crops)
    return open_dataset(root)


def with_norm(wanted: str) -> onnx.ModelProto:
    """A network with a batch norm after its stem that remembers drawn people, prepared as ``wanted``."""
    model = build(opset=15)
    graph = model.graph
    stem, bias = (numpy_helper.to_array(tensor) for tensor in graph.initializer[:2])
    small = np.array([cv2.resize(crop, (16, 32)) for crop in draw_crops(PEOPLE, seed=5)])
    pixels = PRESETS[wanted].apply(small)
    padded = np.pad(pixels, ((0, 0), (0, 0), (3, 3), (3, 3)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 7), (2, 3))[:, :, ::4, ::4]
    maps = np.einsum("bchwij,ocij->bohw", windows, stem) + bias[:, None, None]
    kept = {
        "mean": maps.mean((0, 2, 3)),
        "var": maps.var((0, 2, 3)),
        "one": np.ones(CHANNELS),
        "nil": np.zeros(CHANNELS),
    }
    for name, value in kept.items():
        graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    nodes = list(graph.node)
    place = [node.op_type for node in nodes].index("Conv") + 1
    nodes[place].input[0] = "normed"
    norm = helper.make_node("BatchNormalization", ["maps", "one", "nil", "mean", "var"], ["normed"])
    del graph.node[:]
    graph.node.extend([*nodes[:place], norm, *nodes[place:]])
    return model


@pytest.mark.parametrize("wanted", ["imagenet", "raw-bgr", "half", "clip", "inside"])
def test_the_first_batch_norm_tells(tmp_path: Path, footage: Dataset, wanted: str) -> None:
    found = adopt(save(with_norm(wanted), tmp_path / "m.onnx"), tmp_path / "o.onnx", draw_crops(3), footage)
    assert found.choice is not None
    assert found.choice.tracklets == PEOPLE
    trials = {trial.preset: trial for trial in found.choice.trials}
    off = {name: trial.mismatch for name, trial in trials.items() if name != "tao"}  # ImageNet's to a hundredth
    assert min(off, key=off.get) == wanted
    # To so simple a network, whose rows are of length 1, all ranges are nearly one.
    assert found.preset in (wanted, trials[wanted].same_as)
    assert (found.preset == "raw-bgr") == (wanted == "raw-bgr")
    assert (tmp_path / "o.onnx").exists()


class Seeing:
    """An embedder that knows each person to some degree, by the name that their crops' pixels spell."""

    batch_size = 64

    def __init__(self, people: float, turn: int = 0, seed: int = 0) -> None:
        self.people, self.turn, self.seed = people, turn, seed

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        rows = []
        for image in images:
            who, frame = int(image[0, 0, 0]), int(image[0, 0, 1])
            noise = np.random.default_rng([self.seed, who, frame]).normal(size=128)
            row = np.roll(self.people * np.eye(128)[who] * 11 + noise, self.turn)
            rows.append(row / np.linalg.norm(row))
        return np.array(rows, np.float32)


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Forty people at once before one camera, whose crops spell who they are."""
    root = tmp_path_factory.mktemp("named")
    crops = []
    for who in range(40):
        for frame in range(4):
            path = root / f"{who}_{frame}.png"
            cv2.imwrite(str(path), np.full((8, 4, 3), (who, frame, 0), np.uint8))
            crops.append(Crop(path, "a", f"t{who}", frame=frame, time=1e9 + frame))
    write_manifest(root, crops)
    return open_dataset(root)


UNKNOWN: dict[str, float | None] = dict.fromkeys(PRESETS)


def test_without_norms_the_one_that_separates_best_is_kept(named: Dataset) -> None:
    embedders = {"imagenet": Seeing(0.5), "raw-bgr": Seeing(2.0, 50), "half": Seeing(0.2, 90)}
    found = choose(named, embedders, UNKNOWN, [])
    assert [trial.preset for trial in found.trials] == ["raw-bgr", "imagenet", "half"]
    assert found.preset == "raw-bgr"
    assert found.trials[0].recall == 1 > found.trials[2].recall


def test_two_that_differ_and_separate_alike_are_not_guessed_between(named: Dataset) -> None:
    embedders = {"imagenet": Seeing(1.0, 50, seed=1), "half": Seeing(1.0, 0, seed=2), "clip": Seeing(0.1, 90)}
    with pytest.raises(
        InputError, match=r"presets (imagenet|half) .* and .* separate people almost equally well, but give different"
    ):
        choose(named, embedders, UNKNOWN, [])


def test_twins_are_one_by_the_commonest_name(named: Dataset) -> None:
    embedders = {"imagenet": Seeing(1.0), "half": Seeing(0.1, 50), "clip": Seeing(1.01)}
    found = choose(named, embedders, UNKNOWN, [])
    assert found.preset == "imagenet"
    assert {trial.preset: trial.same_as for trial in found.trials} == {
        "imagenet": None,
        "half": None,
        "clip": "imagenet",
    }


def test_norms_are_heard_before_separation_but_not_against_all_of_it(named: Dataset) -> None:
    embedders = {"imagenet": Seeing(1.0, 50, seed=1), "half": Seeing(1.1, 0, seed=2), "clip": Seeing(0.0, 90)}
    assert choose(named, embedders, {"imagenet": 0.1, "half": 0.4, "clip": 0.3}, []).preset == "imagenet"
    with pytest.raises(
        InputError,
        match=r"preset half .* separates people best, but preset clip .* fits the network's first batch norm",
    ):
        choose(named, embedders, {"imagenet": 0.4, "half": 0.3, "clip": 0.1}, [])


def test_too_few_tracklets_decide_nothing(tmp_path: Path, footage: Dataset) -> None:
    few = Dataset(footage.root, footage.layout, footage.tracklets[: LEAST_TRACKLETS - 1])
    with pytest.raises(InputError, match=rf"has {LEAST_TRACKLETS - 1} tracklets .*: expected {LEAST_TRACKLETS}"):
        adopt(save(build(), tmp_path / "m.onnx"), tmp_path / "o.onnx", draw_crops(3), few)


def test_single_pictures_tell_nothing_and_a_name_still_does(tmp_path: Path) -> None:
    """No tracklet has two crops, so the batch norm sees no picture."""
    (tmp_path / "flat").mkdir()
    for number, picture in enumerate(draw_crops(3)):
        cv2.imwrite(str(tmp_path / "flat" / f"{number}.png"), picture)
    flat = open_dataset(tmp_path / "flat")
    with pytest.raises(InputError, match=rf"has 0 tracklets .*: expected {LEAST_TRACKLETS}"):
        adopt(save(with_norm("imagenet"), tmp_path / "m.onnx"), tmp_path / "o.onnx", draw_crops(3), flat)
    found = adopt(save(with_norm("imagenet"), tmp_path / "osnet_bn.onnx"), tmp_path / "o.onnx", draw_crops(3), flat)
    assert (found.preset, found.choice) == ("imagenet", None)


def test_a_misspelt_preset_is_refused() -> None:
    with pytest.raises(InputError, match=r"no preset 'imagnet' \(did you mean 'imagenet'\?\)"):
        preset("imagnet")


def test_tracklets_that_cannot_be_read_are_left_out_and_said(named: Dataset, tmp_path: Path) -> None:
    """They would make presets that agree look different."""
    root = tmp_path / "broken"
    shutil.copytree(named.root, root)
    for path in sorted(root.glob("*_0.png"))[:10]:
        path.write_bytes(b"nothing")
    for path in sorted(root.glob("*_1.png"))[:10]:
        path.write_bytes(b"nothing")
    bad: list[str] = []
    embedders = {"imagenet": Seeing(1.0), "half": Seeing(0.1, 50), "clip": Seeing(1.01)}
    found = choose(open_dataset(root), embedders, UNKNOWN, bad)
    assert (found.preset, found.tracklets, len(bad)) == ("imagenet", 30, 20)
    assert {trial.preset: trial.same_as for trial in found.trials}["clip"] == "imagenet"


def test_a_name_is_checked_on_the_footage(tmp_path: Path, footage: Dataset) -> None:
    path = save(with_norm("imagenet"), tmp_path / "osnet.onnx")
    found = adopt(path, tmp_path / "o.onnx", draw_crops(3), footage)
    assert (found.preset, found.choice is not None) == ("imagenet", True)
    assert "its name is" in found.why


@pytest.mark.parametrize(("own", "doubted"), [(1.0, True), (1.4, True), (1.6, False), (2.0, False)])
def test_a_name_is_doubted_where_another_preset_separates_far_better(own: float, doubted: bool) -> None:
    trials = (Trial("raw-bgr", 0.9, 2.0, None), Trial("imagenet", 0.5, own, None))
    said = doubts(Recognised("imagenet", "its name is that of an OSNet"), Choice("raw-bgr", False, 40, trials))
    assert ("with raw-bgr it separates people far better (2.00 against" in said) == doubted
    assert bool(said) == doubted
