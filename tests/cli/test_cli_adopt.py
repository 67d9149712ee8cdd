"""reid adopt and reid model as a user runs them."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from reid import catalog
from third_party import DIMENSION, build, save

from reid_toolkit.adopt import pretrained
from reid_toolkit.catalogue.entries import read_catalogue
from reid_toolkit.datasets.manifest import write_manifest
from reid_toolkit.demo.crops import draw_crops
from reid_toolkit.records import Crop


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """A dataset of drawn people, two crops each."""
    folder = tmp_path / "people"
    folder.mkdir()
    crops = []
    for number, picture in enumerate(draw_crops(14)):
        for frame in range(2):
            path = folder / f"{number}-{frame}.png"
            cv2.imwrite(str(path), picture[frame:])
            crops.append(Crop(path, "ab"[number % 2], f"t{number}", frame=frame, time=float(frame)))
    write_manifest(folder, crops)
    return folder


def test_an_adopted_model_is_enrolled_and_searched_with(reid, tmp_path: Path, people: Path) -> None:
    file, out = save(build(), tmp_path / "theirs.onnx"), tmp_path / "ours.onnx"
    found = reid("adopt", file, "--out", out, "--dataset", people, "--preset", "imagenet", "--license", "MIT", "--json")
    assert (found.json["preset"], found.json["dimension"], found.json["crops"]) == ("imagenet", DIMENSION, 28)
    assert found.json["max_difference"] < 1e-3
    assert reid("enroll", people, "--model", out, "--gallery", tmp_path / "g", "--json").json["enrolled"] == 14
    best = reid("search", people / "3-0.png", "--gallery", tmp_path / "g", "--json").json["matches"][0]
    assert best["tracklet"] == "t3"


def test_the_card_says_where_it_comes_from(reid, tmp_path: Path) -> None:
    file, out = save(build(), tmp_path / "osnet.onnx"), tmp_path / "ours.onnx"
    said = reid("adopt", file, "--out", out).err
    assert (
        "preset imagenet ((RGB / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)): its name is that of an OSNet"
        in said
    )
    assert "on 34 drawn people at batch 1, 2 and 17" in said
    card = reid("model", "card", out, "--json").json
    assert (card["made_from"], card["license"], card["preset"]) == ("osnet.onnx", "not given", "imagenet")
    assert card["crops_per_second"] > 0
    shown = reid("model", "card", out).err
    assert "made from" in shown
    assert "fingerprint" in shown


@pytest.mark.parametrize(
    ("options", "contract"),
    [
        (["--order", "bgr"], "BGR of 0-255"),
        (["--scale", "255", "--mean", "0.5", "0.5", "0.5"], "RGB / 255 - (0.5, 0.5, 0.5)"),
        (["--scale", "1", "--std", "58", "57", "57", "--order", "bgr"], "BGR of 0-255 / (58, 57, 57)"),
    ],
)
def test_a_contract_may_be_spelled_out(reid, tmp_path: Path, options: list[str], contract: str) -> None:
    found = reid("adopt", save(build(), tmp_path / "m.onnx"), "--out", tmp_path / "o.onnx", *options, "--json").json
    assert (found["preset"], found["contract"]) == ("custom", contract)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--preset", "half", "--order", "bgr"], "give either --preset or"),
        (["--mean", "1", "2", "3"], "--mean and --std need --scale"),
        (["--order", "grb"], "'grb' is not one of 'rgb', 'bgr'"),
    ],
)
def test_wrong_usage_is_said(reid, tmp_path: Path, options: list[str], said: str) -> None:
    found = reid("adopt", save(build(), tmp_path / "m.onnx"), "--out", tmp_path / "o.onnx", *options)
    assert found.status == 2
    assert said in found.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "nothing in it tells how pixels must be prepared"),
        (["--preset", "imagnet"], "did you mean 'imagenet'?"),
        (["--mean", "120", "110", "100", "--scale", "255"], "expected fractions with scale 255"),
        (["--preset", "half", "--output", "nothing"], "has no tensor 'nothing'"),
        (["--preset", "half", "--size", "99x99"], "takes 32 x 16, not 99 x 99"),
    ],
)
def test_what_cannot_be_is_one_line(reid, tmp_path: Path, options: list[str], said: str) -> None:
    found = reid("adopt", save(build(), tmp_path / "m.onnx"), "--out", tmp_path / "o.onnx", *options)
    assert said in found.error
    assert not (tmp_path / "o.onnx").exists()


def test_a_network_is_fetched_by_its_name(reid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, address = save(build(), tmp_path / "w.onnx"), "https://example.org/w.onnx"
    monkeypatch.setitem(catalog.ALIASES, "drawn_people_x9", catalog.ModelCard("osnet_x0_25", address))
    asked = []
    monkeypatch.setattr(pretrained, "fetch", lambda weights: asked.append(weights) or file)
    out = tmp_path / "o.onnx"
    assert "expected the name of an .onnx file" in reid("adopt", "drawn_people", "--out", tmp_path / "o.txt").error
    assert not asked
    said = reid("adopt", "drawn_people", "--out", out, "--preset", "half")
    assert (said.status, said.out) == (0, "")
    assert f"drawn_people_x9: {address}, unless it was downloaded before" in said.err
    assert [weights.name for weights in asked] == ["drawn_people_x9"]
    assert reid("model", "card", out, "--json").json["made_from"] == address


def test_a_name_of_no_network_is_one_line(reid, tmp_path: Path) -> None:
    said = reid("adopt", "osnet_x1_0_msmt71", "--out", tmp_path / "o.onnx").error
    assert "no such file, and no network of this name (did you mean 'osnet_x1_0_mot17'?)" in said


@pytest.mark.parametrize("name", ["person-reidentification-retail-0286", "person-detection-0200"])
def test_a_model_of_the_catalogue_is_not_adopted(reid, tmp_path: Path, name: str) -> None:
    assert name in [entry.name for entry in read_catalogue()]
    said = reid("adopt", name, "--out", tmp_path / "o.onnx").error
    assert f"{name}: is a model of `reid models`: `reid models get {name}`" in said


def test_a_dataset_decides_and_the_table_is_shown(reid, tmp_path: Path, people: Path) -> None:
    """To this network, whose rows are of length 1, all ranges are nearly one: the order of channels is found."""
    found = reid("adopt", save(build(), tmp_path / "m.onnx"), "--out", tmp_path / "o.onnx", "--dataset", people)
    assert "raw-bgr      100%" in found.err
    assert "inside       100%        1.4" in found.err
    assert "the same to this network as imagenet" in found.err
    assert "preset raw-bgr (BGR of 0-255): it separates people best on 14 tracklets" in found.err
    trials = reid("adopt", tmp_path / "m.onnx", "--out", tmp_path / "o.onnx", "--dataset", people, "--json").json[
        "trials"
    ]
    assert trials[0]["preset"] == "raw-bgr"
    assert len(trials) == 6


@pytest.mark.parametrize("before", ["stem", "instance norm"])
def test_an_adopted_model_is_put_into_int8(reid, tmp_path: Path, people: Path, before: str) -> None:
    """Of networks that begin with their first convolution, and of those that do something to the pixels before it."""
    model = build(opset=15)
    if before == "instance norm":
        for name, value in (("gain", 1.0), ("offset", 0.0)):
            model.graph.initializer.append(numpy_helper.from_array(np.full(3, value, np.float32), name))
        nodes = [helper.make_node("InstanceNormalization", ["images", "gain", "offset"], ["even"]), *model.graph.node]
        nodes[1].input[0] = "even"
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    out, small = tmp_path / "ours.onnx", tmp_path / "small.onnx"
    assert reid("adopt", save(model, tmp_path / "m.onnx"), "--out", out, "--preset", "half").status == 0
    found = reid("export", out, "--out", small, "--int8", "--int8-dataset", people, "--max-loss", "0.05", "--json").json
    assert found["int8"]["cosine"] > 0.99
    assert found["int8"]["in_float"] == []
    assert "stage" not in found
    assert any(node.op_type == "QuantizeLinear" or "quantized" in node.input[0] for node in onnx.load(small).graph.node)
    again = reid("export", small, "--out", tmp_path / "x.onnx", "--int8", "--int8-dataset", people)
    assert "is in int8 for" in again.error
    assert "expected a float file" in again.error
    usage = reid("export", out, "--out", small, "--dataset", people)
    assert (usage.status, "is a model already: --int8 makes a smaller one of it" in usage.err) == (2, True)
