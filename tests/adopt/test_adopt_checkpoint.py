"""Checkpoints of torchreid and fast-reid: opened as tensors alone, known by them, and the same as a file of ours."""

import os
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from reid_toolkit.adopt.adoption import Settings, adopt
from reid_toolkit.adopt.architecture import AINS, OSNETS, SBS, Architecture
from reid_toolkit.adopt.contract import PRESETS
from reid_toolkit.adopt.from_torch import loaded, module_for
from reid_toolkit.demo.crops import draw_crops
from reid_toolkit.errors import InputError, MissingDependencyError, ModelError
from reid_toolkit.images import resize
from reid_toolkit.runtime import Embedder
from reid_toolkit.training import osnet as osnets

CROPS = draw_crops(18)
SMALL = (64, 32)
State = dict[str, Tensor]


def trained(architecture: Architecture) -> nn.Module:
    """Random weights, and batch norms that have seen the drawn people."""
    torch.manual_seed(3)
    module = module_for(architecture).train()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.momentum = None
    pixels = PRESETS["imagenet"].apply(np.stack([resize(crop, *SMALL) for crop in CROPS]))
    with torch.no_grad():
        module(torch.from_numpy(pixels))
    return module.eval()


@pytest.fixture(scope="module")
def osnet() -> nn.Module:
    return trained(OSNETS[16])


@pytest.fixture
def state(osnet: nn.Module) -> State:
    return {name: tensor.clone() for name, tensor in osnet.state_dict().items()}


def by_hand(module: nn.Module) -> np.ndarray:
    """Descriptors as its maker computes them."""
    pixels = np.stack([resize(crop, *SMALL)[..., ::-1] for crop in CROPS]).transpose(0, 3, 1, 2) / 255.0
    mean, std = (np.array(values).reshape(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        found = module(torch.from_numpy((pixels - mean) / std).float()).numpy()
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_an_osnet_as_torchreid_saves_it_becomes_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its classifier, the optimiser, a number of numpy, and the names that training on several GPUs gives."""
    monkeypatch.setattr(osnets, "DEPTHS", (1, 2, 1, 1))  # torch.onnx takes long for each layer
    osnet = trained(OSNETS[16])
    wrapped = {f"module.{name}": tensor for name, tensor in osnet.state_dict().items()}
    wrapped["module.classifier.weight"] = torch.zeros(751, 512)
    path = tmp_path / "model.pth.tar-60"
    optimiser = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}
    torch.save({"state_dict": wrapped, "epoch": 60, "rank1": np.float32(0.9), "optimizer": optimiser}, path)
    found = adopt(path, tmp_path / "o.onnx", CROPS, settings=Settings(size=SMALL, licence="MIT"))
    assert (found.preset, found.why) == ("imagenet", "its tensors are those of OSNet x0.25 of torchreid")
    assert found.parity.batches == (1, 2, 17)
    embedder = Embedder(tmp_path / "o.onnx")
    assert np.abs(embedder.embed(CROPS) - by_hand(osnet)).max() < 1e-4
    about = embedder.metadata
    assert (about.backbone, about.source, about.licence) == ("osnet_x0_25", "model.pth.tar-60", "MIT")
    assert (about.height, about.width, about.dimension, len(about.source_sha256)) == (*SMALL, 512, 64)


def as_fast_reid_saves(module: nn.Module) -> dict[str, Any]:
    """With its classifier, and the mean of its pixels."""
    theirs = {"pool.": "heads.pool_layer.", "bottleneck.": "heads.bottleneck.0."}
    saved = {"heads.weight": torch.zeros(9, 2048), "pixel_mean": torch.tensor([123.675, 116.28, 103.53])}
    for name, tensor in module.state_dict().items():
        start = name.partition(".")[0] + "."
        saved[theirs.get(start, start) + name.removeprefix(start)] = tensor
    return {"model": saved, "iteration": 7}


OTHERS = {AINS[16]: nn.Module.state_dict, SBS: as_fast_reid_saves}
"""How each is saved."""


@pytest.mark.parametrize("architecture", OTHERS, ids=lambda one: one.name)
def test_others_compute_what_their_makers_compute(tmp_path: Path, architecture: Architecture) -> None:
    module = trained(architecture)
    torch.save(OTHERS[architecture](module), tmp_path / "m.pth")
    found, held = loaded(tmp_path / "m.pth")
    assert found == architecture
    assert np.abs(by_hand(held.eval()) - by_hand(module)).max() < 1e-6


@pytest.mark.slow  # torch.onnx needs 15 to 20 seconds of a core for each
@pytest.mark.parametrize(
    ("architecture", "dimension", "why"),
    [(AINS[16], 512, "its tensors are those of OSNet-AIN x0.25 of torchreid"), (SBS, 2048, "")],
    ids=["osnet_ain", "sbs"],
)
def test_others_become_ours(tmp_path: Path, architecture: Architecture, dimension: int, why: str) -> None:
    module = trained(architecture)
    torch.save(OTHERS[architecture](module), tmp_path / "m.pth")
    found = adopt(tmp_path / "m.pth", tmp_path / "o.onnx", CROPS, settings=Settings(size=SMALL))
    assert (found.preset, found.network.dimension) == ("imagenet", dimension)
    assert why in found.why
    assert np.abs(Embedder(tmp_path / "o.onnx").embed(CROPS) - by_hand(module)).max() < 1e-4


@pytest.mark.parametrize("architecture", [*OSNETS.values(), *AINS.values(), SBS], ids=lambda one: one.name)
def test_each_is_told_by_its_tensors(tmp_path: Path, architecture: Architecture) -> None:
    torch.save(module_for(architecture).state_dict(), tmp_path / "x.bin")
    assert loaded(tmp_path / "x.bin")[0] == architecture


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("form", ["zip", "before 1.6", "safetensors"])
def test_every_form_and_precision_gives_the_weights(
    tmp_path: Path, state: State, dtype: torch.dtype, form: str
) -> None:
    saved = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    path = tmp_path / "weights"
    if form == "safetensors":
        safetensors.torch.save_file(saved, path)
    else:
        torch.save(saved, path, _use_new_zipfile_serialization=form == "zip")
    held = loaded(path)[1].state_dict()
    name = "conv1.conv.weight"
    assert held[name].dtype == torch.float32
    assert torch.equal(held[name], state[name].to(dtype).float())


class Wicked:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("beside", [True, False], ids=["beside weights", "alone"])
@pytest.mark.parametrize("form", ["zip", "before 1.6", "pickle"])
def test_code_is_not_run(tmp_path: Path, state: State, form: str, beside: bool) -> None:
    path, mark = tmp_path / "m.pth", tmp_path / "owned"
    wicked: Any = Wicked(f"touch {mark}")
    held = {"state_dict": state, "note": wicked} if beside else wicked
    if form == "pickle":
        path.write_bytes(pickle.dumps(wicked, protocol=2))
    else:
        torch.save(held, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ModelError, match=r"holds more than tensors \(.*\.system\)|damaged"):
        adopt(path, tmp_path / "o.onnx", CROPS)
    assert not mark.exists()
    assert not (tmp_path / "o.onnx").exists()


def whole(path: Path, state: State, osnet: nn.Module) -> None:
    torch.save(osnet, path)


def whole_beside(path: Path, state: State, osnet: nn.Module) -> None:
    torch.save({"model": osnet, "epoch": 3}, path)


def compressed(path: Path, state: State, osnet: nn.Module) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", b"\x80\x02}.")
        archive.writestr("m/data/0", bytes(1 << 24))


def lies_about_its_size(path: Path, state: State, osnet: nn.Module) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02}.")
        archive.writestr("m/data/0", b"")
        archive.getinfo("m/data/0").file_size = 1 << 31


def old_and_huge(path: Path, state: State, osnet: nn.Module) -> None:
    """As before torch 1.6, with a storage that is said to have 8 GB."""
    torch.save({"conv1.conv.weight": torch.zeros(70_000)}, path, _use_new_zipfile_serialization=False)
    content, count = path.read_bytes(), b"J" + (70_000).to_bytes(4, "little")
    assert count in content
    path.write_bytes(content.replace(count, b"J" + (2**31 - 1).to_bytes(4, "little")))


def wide_view(path: Path, state: State, osnet: nn.Module) -> None:
    """One number, said to be a matrix of 40 TB."""
    torch.save(state | {"fc.0.weight": torch.zeros(1).expand(10**6, 10**7)}, path)


def cut(path: Path, state: State, osnet: nn.Module) -> None:
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-2000])


def cut_and_old(path: Path, state: State, osnet: nn.Module) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-2000])


def cut_and_safe(path: Path, state: State, osnet: nn.Module) -> None:
    safetensors.torch.save_file(state, path)
    path.write_bytes(path.read_bytes()[:-2000])


def a_page(path: Path, state: State, osnet: nn.Module) -> None:
    path.write_bytes(b"<!DOCTYPE html><html>quota exceeded</html>")


def tar(path: Path, state: State, osnet: nn.Module) -> None:
    """Whose first file's name begins like a pickle."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="latin1") as archive:
        archive.addfile(tarfile.TarInfo("\x80\x02sys_info"))


def other_zip(path: Path, state: State, osnet: nn.Module) -> None:
    np.savez(path.with_suffix(".npz"), rows=np.zeros(3))
    path.with_suffix(".npz").rename(path)


def script(path: Path, state: State, osnet: nn.Module) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"):
            archive.writestr(name, b"\x80\x02}.")


def numbers(path: Path, state: State, osnet: nn.Module) -> None:
    torch.save({"state_dict": {"conv1.conv.weight": 3}}, path)


def rows(path: Path, state: State, osnet: nn.Module) -> None:
    torch.save([torch.zeros(3)], path)


def not_finite(path: Path, state: State, osnet: nn.Module) -> None:
    state["conv4.1.conv3.bn.weight"][5] = torch.nan
    torch.save(state, path)


def missing(path: Path, state: State, osnet: nn.Module) -> None:
    del state["fc.1.running_var"], state["fc.1.running_mean"]
    torch.save(state, path)


def misshapen(path: Path, state: State, osnet: nn.Module) -> None:
    torch.save(state | {"fc.0.weight": torch.zeros(256, 128)}, path)


def more(path: Path, state: State, osnet: nn.Module) -> None:
    torch.save(state | {"attention.weight": torch.zeros(3)}, path)


def whole_numbers(path: Path, state: State, osnet: nn.Module) -> None:
    torch.save(state | {"fc.0.bias": torch.zeros(512, dtype=torch.int64)}, path)


def without_values(path: Path, state: State, osnet: nn.Module) -> None:
    torch.save(state | {"fc.0.bias": torch.zeros(512, device="meta")}, path)


def two(path: Path, state: State, osnet: nn.Module) -> None:
    torch.save(state | {"module.fc.0.bias": torch.zeros(512)}, path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (whole, "holds more than tensors (reid_toolkit.training.osnet.OSNet)"),
        (whole_beside, "holds more than tensors (reid_toolkit.training.osnet.OSNet)"),
        (compressed, "unpack to 16777220: expected uncompressed tensors"),
        (lies_about_its_size, "unpack to 2147483652: expected uncompressed tensors"),
        (old_and_huge, "damaged"),
        (wide_view, "1 have another shape, such as fc.0.weight: (1000000, 10000000) for (512, 128)"),
        (cut, "not a whole checkpoint: File is not a zip file: fetch it again"),
        (cut_and_old, "damaged"),
        (cut_and_safe, "damaged safetensors"),
        (a_page, "it begins with b'<!DOCTYPE ': an incomplete download, or a web page instead?"),
        (tar, "a tar archive"),
        (other_zip, "a zip archive of something else (['rows.npy'])"),
        (script, "a program of TorchScript, which is code"),
        (numbers, "'conv1.conv.weight' is not a tensor"),
        (rows, "holds no tensors by name"),
        (not_finite, "its weights conv4.1.conv3.bn.weight are not finite"),
        (missing, "looks like OSNet x0.25 of torchreid, but of its tensors 2 are missing, such as fc.1.running_mean"),
        (misshapen, "1 have another shape, such as fc.0.weight: (256, 128) for (512, 128)"),
        (more, "1 are not known, such as attention.weight"),
        (whole_numbers, "fc.0.bias is torch.int64, torch.strided, on cpu: expected plain floats"),
        (without_values, "fc.0.bias is torch.float32, torch.strided, on meta: expected plain floats"),
        (two, "holds two networks: module.fc.0.bias and another are both fc.0.bias"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)  # fmt: skip
def test_what_is_refused_is_one_line_and_writes_nothing(
    tmp_path: Path, state: State, osnet: nn.Module, make: Callable[[Path, State, nn.Module], None], said: str
) -> None:
    path = tmp_path / "m.pth"
    make(path, state, osnet)
    with pytest.raises(ModelError) as told:
        adopt(path, tmp_path / "o.onnx", CROPS)
    assert said in str(told.value)
    assert str(told.value).startswith(f"{path}: ")
    assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == [path]


def test_pixels_of_another_mean_are_not_taken_for_imagenets(tmp_path: Path) -> None:
    saved = module_for(SBS).state_dict() | {"pixel_mean": torch.zeros(3)}
    torch.save(saved, tmp_path / "m.pth")
    with pytest.raises(ModelError, match=r"was trained with pixel_mean \[0.0, 0.0, 0.0\]: expected ImageNet's"):
        loaded(tmp_path / "m.pth")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(output="fc"), "a checkpoint has one output: leave --output out"),
        (Settings(size=(4096, 64)), "expected sides of 16 to 1024 pixels"),
    ],
)
def test_settings_that_cannot_be_are_said(tmp_path: Path, state: State, settings: Settings, said: str) -> None:
    torch.save(state, tmp_path / "m.pth")
    with pytest.raises(InputError, match=said):
        adopt(tmp_path / "m.pth", tmp_path / "o.onnx", CROPS, settings=settings)


def test_the_extra_is_named_where_it_is_missing_and_not_wanted_for_an_osnet(
    tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "reid.architectures", None)
    with pytest.raises(MissingDependencyError, match=r"fast-reid's SBS .* needs Roboflow's .* '.\[pretrained\]'"):
        module_for(SBS)
    torch.save(state, tmp_path / "m.pth")
    assert loaded(tmp_path / "m.pth")[0] == OSNETS[16]
