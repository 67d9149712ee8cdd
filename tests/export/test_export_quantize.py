from pathlib import Path

import numpy as np
import onnx
import pytest
from small_backbone import SMALL

from reid_toolkit.datasets.dataset import spread_over_cameras
from reid_toolkit.errors import InputError, ModelError
from reid_toolkit.export import int8
from reid_toolkit.export.activation_ranges import measure_ranges
from reid_toolkit.export.int8 import TARGETS, insert_int8, layers, target_here
from reid_toolkit.export.parity import Parity
from reid_toolkit.export.quantize import choose_layers, descriptor_loss, mean_cosine, quantize, seconds_per_crop
from reid_toolkit.export.saving import save_model
from reid_toolkit.images import Image
from reid_toolkit.records import Crop
from reid_toolkit.runtime import Embedder

Exported = tuple[Path, Path, Parity]
RESNET = pytest.mark.parametrize("run", [SMALL], indirect=True)


def kinds(model: Path) -> list[str]:
    return [node.op_type for node in onnx.load(model).graph.node]


@RESNET  # a MobileNetV3 of three steps takes all noise for the same
def test_int8_is_smaller_and_nearly_the_same(exported: Exported, crops: list[Image], tmp_path: Path) -> None:
    _, model, _ = exported
    out = tmp_path / "model.onnx"
    found = quantize(model, out, crops, crops, max_loss=10.0)
    before, after = Embedder(model), Embedder(out)
    assert found.bytes == out.stat().st_size < 0.4 * model.stat().st_size
    assert found.cosine > 0.99
    assert found.cosine == pytest.approx(mean_cosine(before.embed(crops), after.embed(crops)), abs=1e-5)
    assert found.in_float == ()
    assert after.metadata.precision == f"int8 for {target_here()}"
    assert after.metadata.dimension == before.metadata.dimension
    rows = after.embed(crops * 5)  # any batch
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert list(tmp_path.iterdir()) == [out]


@RESNET
def test_what_each_target_gets(exported: Exported, crops: list[Image]) -> None:
    ranged = measure_ranges(exported[1], crops)
    types, largest = {}, {}
    for target in TARGETS:
        model = insert_int8(ranged, target, [])
        constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        quantisers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
        types[target] = {str(constants[node.input[2]].dtype) for node in quantisers}
        weights = [value for value in constants.values() if value.dtype == np.int8 and value.ndim == 4]
        assert len(weights) == 12  # every convolution
        largest[target] = max(int(np.abs(value.astype(int)).max()) for value in weights)
        scales = [node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear"]
        assert any(constants[name].size > 1 for name in scales), "a scale a channel"
    assert types == {"x86": {"uint8"}, "x86-avx2": {"uint8"}, "arm": {"int8"}}
    assert largest["x86"] == largest["arm"] == 127
    assert largest["x86-avx2"] <= 64


@RESNET
def test_nothing_is_computed_before_the_first_convolution(
    exported: Exported, crops: list[Image], tmp_path: Path
) -> None:
    quantize(exported[1], tmp_path / "model.onnx", crops, crops, max_loss=10.0)
    found = kinds(tmp_path / "model.onnx")
    assert {"Cast", "Sub"} <= set(kinds(exported[1]))
    assert set(found[: found.index("Conv")]) <= {"Reshape", "Transpose", "DequantizeLinear"}


@RESNET
def test_layers_can_be_left_in_float(exported: Exported, crops: list[Image], tmp_path: Path) -> None:
    """All in float is the float model, but for the grey padding; and each layer's absence shows in the graph."""
    _, path, _ = exported
    ranged = measure_ranges(path, crops)
    names = layers(ranged)
    before = Embedder(path)
    out = tmp_path / "model.onnx"
    losses = []
    for in_float in (names, names[:10], []):
        save_model(insert_int8(ranged, "x86", in_float), before.metadata, out)
        losses.append(descriptor_loss(before.embed(crops), Embedder(out).embed(crops)))
    assert losses[0] < losses[2]
    save_model(insert_int8(ranged, "x86", names), before.metadata, out)
    assert "QuantizeLinear" not in kinds(out)


@RESNET
def test_a_limit_that_cannot_be_kept_is_refused(exported: Exported, crops: list[Image], tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    seen: list[tuple[int, int | None]] = []
    with pytest.raises(ModelError, match=r"INT8 refused: the loss is .* with 8 of 16 layers in float"):
        quantize(exported[1], out, crops, crops, max_loss=0.0, on_progress=lambda *done: seen.append(done))
    assert seen == [(done, 16) for done in range(1, 17)]
    assert not list(tmp_path.iterdir())


@RESNET
def test_where_identities_are_known_map_decides(exported: Exported, crops: list[Image], tmp_path: Path) -> None:
    _, path, _ = exported
    out = tmp_path / "model.onnx"
    precise = iter([0.9, 0.85])  # the float model's, then INT8's
    found = quantize(path, out, crops, crops, max_loss=0.06, mean_ap=lambda _: next(precise))
    assert found.loss == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("machine", "flags", "target"),
    [
        ("x86_64", "flags : fpu avx2 avx512_vnni", "x86"),
        ("AMD64", "flags : avx_vnni", "x86"),
        ("x86_64", "flags : fpu avx2", "x86-avx2"),
        ("x86_64", None, "x86-avx2"),
        ("aarch64", "Features : asimd asimddp", "arm"),
        ("arm64", None, "arm"),
    ],
)
def test_the_target_is_that_of_the_machine(
    machine: str, flags: str | None, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if flags:
        (tmp_path / "cpuinfo").write_text(flags)
    monkeypatch.setattr(int8, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert target_here() == target


def test_too_few_crops_and_unknown_targets(tmp_path: Path) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    model, out = tmp_path / "no.onnx", tmp_path / "out.onnx"
    with pytest.raises(InputError, match="no INT8 target 'z80': expected one of x86, x86-avx2, arm"):
        quantize(model, out, [picture], [picture] * 2, target="z80")
    with pytest.raises(InputError, match=r"no\.onnx: is the model that is read"):
        quantize(model, tmp_path / "sub" / ".." / "no.onnx", [picture], [picture] * 2)
    for calibration, held_out in (([], [picture] * 2), ([picture], [picture])):
        with pytest.raises(InputError, match="INT8 needs crops"):
            quantize(model, out, calibration, held_out)


HARM = {"a": 0.1, "b": 5.0, "c": 0.2, "d": 3.0, "e": 0.3, "f": 1.0, "g": 0.0, "h": 0.0}


@pytest.mark.parametrize(
    ("limit", "kept"),
    [(9.7, []), (5.0, ["b"]), (4.59, ["b", "d"]), (1.0, ["b", "d", "f"]), (0.31, ["b", "d", "f", "e"])],
)
def test_the_fewest_of_the_most_harmful_layers_stay_in_float(limit: float, kept: list[str]) -> None:
    def loss(in_float: list[str]) -> float:
        return sum(HARM.values()) - sum(HARM[name] for name in in_float)

    chosen, lost = choose_layers(list(HARM), loss, HARM.__getitem__, limit)
    assert chosen == kept
    assert lost == pytest.approx(loss(kept))
    assert lost <= limit


def test_half_of_the_layers_is_the_most() -> None:
    with pytest.raises(ModelError, match=r"still 4\.0000 with 4 of 8 layers in float: expected at most 3\.9"):
        choose_layers(list("abcdefgh"), lambda kept: 8.0 - len(kept), lambda _: 1.0, 3.9)
    with pytest.raises(ModelError, match="INT8 refused"):
        choose_layers(["a", "b"], lambda _: float("nan"), lambda _: 1.0, 3.9)


def test_the_loss_is_a_share_of_the_distance_between_crops() -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(size=(200, 64)).astype(np.float32)
    before /= np.linalg.norm(before, axis=1, keepdims=True)
    assert descriptor_loss(before, before) == pytest.approx(0, abs=1e-6)
    assert descriptor_loss(before, np.roll(before, 1, axis=0)) == pytest.approx(1, abs=0.05)
    # Slowly: squared distance moved, over squared distance between all pairs of different crops.
    after = before + 0.05 * rng.normal(size=before.shape).astype(np.float32)
    after /= np.linalg.norm(after, axis=1, keepdims=True)
    moved = np.mean([np.sum((a - b) ** 2) for a, b in zip(before, after, strict=True)])
    pairs = [np.sum((a - b) ** 2) for i, a in enumerate(before) for j, b in enumerate(before) if i != j]
    assert descriptor_loss(before, after) == pytest.approx(moved / np.mean(pairs), rel=1e-4)
    with pytest.raises(InputError, match="do not differ"):
        descriptor_loss(np.repeat(before[:1], 5, axis=0), after[:5])
    with pytest.raises(InputError, match="do not differ"):
        descriptor_loss(before[:1], after[:1])


@RESNET
def test_times_are_of_each_model(exported: Exported, crops: list[Image]) -> None:
    embedder = Embedder(exported[1])
    times = seconds_per_crop([embedder, embedder], crops, rounds=2)
    assert len(times) == 2
    assert min(times) > 0


def test_crops_are_spread_over_cameras() -> None:
    crops = [Crop(Path(f"{c}{i}"), c, f"{c}{i}", i) for c, n in (("a", 90), ("b", 5), ("c", 30)) for i in range(n)]
    order = spread_over_cameras(crops)
    assert sorted(order, key=lambda c: c.path) == sorted(crops, key=lambda c: c.path)
    assert {camera: [c.camera for c in order[:15]].count(camera) for camera in "abc"} == {"a": 5, "b": 5, "c": 5}
    assert [c.frame for c in order if c.camera == "a"] != list(range(90))
    assert spread_over_cameras(crops) == order
    assert spread_over_cameras(crops, seed=1) != order


def test_calibration_reads_the_ranges_of_the_crops(exported: Exported, crops: list[Image]) -> None:
    """The first convolution's input is bytes minus grey 114 whatever the crops; what follows depends on them."""
    one, all_four = measure_ranges(exported[1], crops[:1]), measure_ranges(exported[1], crops)
    assert [float(np.max(end)) for end in one.ranges[one.pixels].range_value] == [-114.0, 141.0]
    highest = [tuple(float(np.max(c.ranges[name].range_value[1])) for c in (one, all_four)) for name in one.ranges]
    # Sums of another batch size are rounded otherwise, by some units of float32's last place.
    assert all(a <= b + 1e-6 * max(abs(b), 1) for a, b in highest)
    assert any(a < b for a, b in highest)
    assert len(set(one.nodes)) == len(one.nodes), "each node can be named"
    assert "" not in one.nodes
