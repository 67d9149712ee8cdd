"""Studies adopted models of third parties: do they give what the originals give, and is the right preset found?

    python tools/study_adoption.py same MODEL... --pictures labeled --json adoption.json
    python tools/study_adoption.py presets DATASET... --weights mobilenet_v2.pth --json presets.json
    python tools/study_adoption.py served MODEL... --pictures labeled --json served.json

``same`` adopts each MODEL (ONNX, or OpenVINO's .xml) without options. It ranks CUHK03's 100 held-out people, all crops
of one camera against all of the other, with the adopted file and with the original in OpenVINO. ``presets`` makes
networks that each need one of the six presets (an ImageNet MobileNetV2 with the difference undone in front of it),
adopts each on each DATASET, and counts how often the right preset is found. A DATASET may be CUHK03's folder val: its
crops of a person in a camera become a tracklet, as a tracker would have made it. ``served`` ranks the same people with
each MODEL, files of `reid adopt` and `reid export`, and measures their crops per second in turns, so that other work on
the machine affects all alike: a teacher, its student, and the student in INT8.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cuhk03 import crop_of, link_pictures
from numpy.typing import NDArray
from study import print_rows, run, write_json
from torch import Tensor, nn
from torch.onnx import TrainingMode

from reid_toolkit.adopt.adoption import Settings, adopt
from reid_toolkit.adopt.choosing import agree, descriptors, split, usable
from reid_toolkit.adopt.contract import PRESETS, Contract
from reid_toolkit.config import NetworkRecipe
from reid_toolkit.datasets import open_dataset, without_identities
from reid_toolkit.datasets.dataset import Dataset, group_tracklets, read_crops
from reid_toolkit.demo.crops import draw_crops
from reid_toolkit.errors import InputError
from reid_toolkit.evaluation.protocol import Embedded, evaluate, free_of_cameras
from reid_toolkit.images import Image, resize
from reid_toolkit.runtime import Embedder
from reid_toolkit.runtime.openvino import import_openvino
from reid_toolkit.training.network import build_network
from reid_toolkit.training.run_folder import RunFolder, load_network

HEIGHT, WIDTH = 128, 64
CROPS = 34
TURNS = 5
"""Measurements of each model's speed. The median counts."""
Embed = Callable[[list[Image]], NDArray[np.float32]]


class Imposed(nn.Module):
    """A network trained for ImageNet's preset, made to need another one: that one's effect on pixels is undone
    first."""

    def __init__(self, network: nn.Module, contract: Contract) -> None:
        super().__init__()
        self.network, self.contract = network, contract

    def forward(self, pictures: Tensor) -> Tensor:
        own, trained = self.contract, PRESETS["imagenet"]
        pixels = (pictures * column(own.std) + column(own.mean)) * own.scale
        if own.order == "bgr":
            pixels = pixels.flip(1)
        return self.network((pixels / trained.scale - column(trained.mean)) / column(trained.std))


def column(triple: tuple[float, float, float]) -> Tensor:
    return torch.tensor(triple).view(1, 3, 1, 1)


def known_network(options: argparse.Namespace) -> nn.Module:
    """Return a network that needs ImageNet's preset: a run's, or ImageNet's own."""
    if options.run:
        return load_network(RunFolder(options.run), "best")
    weights = str(options.weights)
    return build_network(NetworkRecipe(backbone="mobilenet_v2", height=HEIGHT, width=WIDTH, weights=weights), 0)


def impose(network: nn.Module, contract: Contract, out: Path, *, folded: bool) -> None:
    """Export it as its maker would have. torch's older exporter folds batch norms into the convolutions."""
    torch.onnx.export(
        Imposed(network.eval(), contract).eval(), (torch.zeros(1, 3, HEIGHT, WIDTH),), out, dynamo=False,
        input_names=["images"], output_names=["output"], dynamic_axes={"images": {0: "batch"}},
        training=TrainingMode.EVAL if folded else TrainingMode.PRESERVE, do_constant_folding=folded,
    )  # fmt: skip


def pieces(folder: Path) -> Dataset:
    """Return a dataset without its labels. Of CUHK03's pictures, the crops of a person in a camera become a
    tracklet."""
    if not any(folder.glob("[0-9][0-9][0-9][0-9]_[0-9][0-9].jpg")):
        return without_identities(open_dataset(folder))
    crops = []
    for path in sorted(folder.glob("*.jpg")):
        crop = crop_of(path)
        crops.append(replace(crop, identity=None, tracklet=f"{crop.identity}{crop.camera}", frame=len(crops)))
    return Dataset(folder, "images", group_tracklets(crops))


def same(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory(dir=options.pictures) as folder:
        val = link_pictures(options.pictures / "val", Path(folder) / "val")
        for path in options.names:
            out = Path(folder) / "adopted.onnx"
            began = time.time()
            adopted = adopt(path, out, draw_crops(CROPS), settings=Settings(preset=options.preset))
            seconds = time.time() - began
            row: dict[str, Any] = {"model": path.name, "preset": adopted.preset, "seconds": round(seconds)}
            row["largest_difference"] = adopted.parity.max_difference
            for who, embed in (("adopted", Embedder(out).embed), ("original", in_openvino(path, adopted.contract))):
                found = embedded(val, embed)
                row |= figures(found, found, before=f"{who} ")
            yield row


def figures(query: Embedded, gallery: Embedded, *, before: str = "", behind: str = "") -> dict[str, float]:
    """Return rank-1 and mAP of each pair of cameras, shares of 1. ``before`` and ``behind`` are added to the names."""
    found = {}
    for pair, ranking in evaluate(query, gallery).pairs.items():
        assert ranking
        for name, value in (("rank-1", ranking.rank(1)), ("mAP", ranking.mean_ap)):
            found[f"{before}{'-'.join(pair)} {name}{behind}"] = value
    return found


def in_openvino(path: Path, contract: Contract) -> Embed:
    """Run the original file by OpenVINO in float32. By default OpenVINO uses bfloat16 if the processor has it."""
    core = import_openvino("the original").Core()
    model = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    _, _, height, width = model.input(0).shape

    def embed(images: list[Image]) -> NDArray[np.float32]:
        crops = (contract.apply(resize(image, height, width)[None]) for image in images)
        rows = np.array([model([crop])[0].reshape(-1) for crop in crops], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return embed


def embedded(dataset: Dataset, embed: Embed) -> Embedded:
    images = [image for _, image in read_crops(dataset.crops)]
    return Embedded(dataset.tracklets, embed(images))


def served(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    models = {path: Embedder(path) for path in options.names}
    with tempfile.TemporaryDirectory(dir=options.pictures) as folder:
        val = link_pictures(options.pictures / "val", Path(folder) / "val")
        images = [image for _, image in read_crops(val.crops)]
        turns: dict[Path, list[float]] = {path: [] for path in models}
        for _ in range(TURNS):
            for path, model in models.items():
                began = time.perf_counter()
                model.embed(images)
                turns[path].append(len(images) / (time.perf_counter() - began))
        first = np.array(turns[options.names[0]])
        for path, model in models.items():
            row: dict[str, Any] = {
                "model": path.name, "size": f"{model.metadata.height}x{model.metadata.width}",
                "MB": round(path.stat().st_size / 1e6, 1), "crops a second": round(float(np.median(turns[path])), 1),
                "times the first": round(float(np.median(np.array(turns[path]) / first)), 2),
            }  # fmt: skip
            found = embedded(val, model.embed)
            freed = free_of_cameras(found, found)
            assert freed
            yield row | figures(found, found) | figures(*freed, behind=" without cameras")


def presets(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        for name, contract in PRESETS.items():
            network = Path(folder) / f"{name}.onnx"
            impose(known_network(options), contract, network, folded=options.folded)
            for place in options.names:
                dataset, out = pieces(place), Path(folder) / "out.onnx"
                row: dict[str, Any] = {"dataset": "/".join(place.parts[-2:]), "wants": name, "found": None}
                try:
                    adopted = adopt(network, out, draw_crops(CROPS), dataset)
                except InputError as error:
                    yield row | {"right": "refused", "said": str(error).removeprefix(f"{network}: ")}
                    continue
                assert adopted.choice
                alike = adopted.preset == name or is_same(network, adopted.preset, name, dataset, Path(folder))
                right = "yes" if adopted.preset == name else "the same to it" if alike else "no"
                yield row | {
                    "found": adopted.preset, "right": right,
                    "said": " ".join(f"{one.preset} {one.separation:.3f}" for one in adopted.choice.trials),
                }  # fmt: skip


def is_same(network: Path, one: str, other: str, dataset: Dataset, folder: Path) -> bool:
    """Whether the two presets give this network the same descriptors."""
    halves = [half for tracklet in usable(dataset.tracklets) for half in split(tracklet)]
    rows = []
    for name in (one, other):
        out = folder / f"{name}-trial.onnx"
        adopt(network, out, draw_crops(CROPS), settings=Settings(preset=name))
        rows.append(descriptors(Embedder(out), halves, []))
    return agree(*rows)


def main(options: argparse.Namespace) -> None:
    rows: list[dict[str, Any]] = []
    for row in {"same": same, "presets": presets, "served": served}[options.what](options):
        rows.append(row)
        print({key: value for key, value in row.items() if key != "said"}, flush=True)
        write_json(options.json, {"rows": rows})
    print_rows([{key: as_shown(key, value) for key, value in row.items() if key != "said"} for row in rows])


def as_shown(key: str, value: Any) -> Any:
    """Format a figure: those of ranking are shares and shown in per cent; sizes and speeds are not changed."""
    return value if "rank-1" in key or "mAP" in key else str(value)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("same", "presets", "served"))
    parser.add_argument("names", type=Path, nargs="+", metavar="MODEL_OR_DATASET")
    parser.add_argument("--pictures", type=Path, help="CUHK03's folder labeled, of which val is used")
    parser.add_argument("--weights", type=Path, help="torchvision's MobileNetV2, a state dict")
    parser.add_argument("--run", type=Path, help="a run of reid train at 128x64, instead of --weights")
    parser.add_argument("--preset", help="for all MODELs of ``same``, instead of the preset that is found")
    parser.add_argument("--folded", action="store_true", help="networks whose batch norms are folded into convolutions")
    parser.add_argument("--json", type=Path, required=True)
    run(main, parser)
