"""The ways from pictures to descriptors that tools/bench_embedder.py compares: ours, and others' ways, written anew
here.

Each takes encoded pictures with ``decode`` and decoded ones with ``embed``, which calls ``prepare`` and the network.
"""

import io
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
MEAN = np.array((0.485, 0.456, 0.406), np.float32)
STD = np.array((0.229, 0.224, 0.225), np.float32)


class Ours:
    """reid_toolkit's Embedder: OpenCV outside, everything else in the graph."""

    file = "float.onnx"
    provider = "cpu"

    def __init__(self, folder: Path, threads: int, batch: int) -> None:
        from reid_toolkit.runtime import Embedder
        from reid_toolkit.runtime.preprocess import to_batch

        self.embedder = Embedder(
            folder / self.file, batch_size=batch, threads=threads, providers=[self.provider], strict=True
        )
        self.to_batch, about = to_batch, self.embedder.metadata
        self.size = about.height, about.width

    def decode(self, content: bytes) -> Pixels:
        return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_BGR), np.uint8)

    def prepare(self, images: list[Pixels]) -> Any:
        return self.to_batch(images, *self.size)

    def embed(self, images: list[Pixels]) -> Any:
        return self.embedder.embed(images)


class OursInt8(Ours):
    file = "int8.onnx"


class OursCuda(Ours):
    provider = "cuda"


class OursTensorRt(Ours):
    provider = "tensorrt"

    def __init__(self, folder: Path, threads: int, batch: int) -> None:
        with suppress(ImportError):
            import tensorrt  # noqa: F401  # loads the libraries of its package, which onnxruntime does not look for
        super().__init__(folder, threads, batch)


class OursOpenVino(Ours):
    """Our Embedder with the package openvino, in float32."""

    provider = "openvino"


class OursChosen(Ours):
    """Our Embedder without a named provider: a trial chooses, once for each number of threads."""

    def __init__(self, folder: Path, threads: int, batch: int) -> None:
        import os

        from reid_toolkit.runtime import Embedder

        super().__init__(folder, threads, batch)
        os.environ["REID_CACHE"] = str(folder / "cache")
        self.embedder = Embedder(folder / self.file, batch_size=batch, threads=threads)
        self.choice = self.embedder.choice


class OpenVino(Ours):
    """OpenVINO on our own file, in the precision that it takes by itself: bfloat16 if the processor multiplies it."""

    def __init__(self, folder: Path, threads: int, batch: int) -> None:
        from reid_toolkit.runtime.openvino import import_openvino

        super().__init__(folder, threads, batch)
        settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        self.request = (
            import_openvino("this way").Core().compile_model(folder / self.file, "CPU", settings).create_infer_request()
        )

    def embed(self, images: list[Pixels]) -> Any:
        return self.request.infer([self.prepare(images)])[0]


class OpenVinoInt8(OpenVino):
    file = "int8.onnx"


class TorchEager(Ours):
    """(a) The network as in training, on OpenCV's pictures."""

    device = "cpu"

    def __init__(self, folder: Path, threads: int, batch: int) -> None:
        import torch

        from reid_toolkit.runtime.preprocess import to_batch
        from reid_toolkit.training.run_folder import RunFolder, load_network

        torch.set_num_threads(threads)
        run = RunFolder(folder / "run")
        self.torch, self.network = torch, load_network(run, "initial").to(self.device).eval()
        self.to_batch, about = to_batch, run.recipe().network
        self.size = about.height, about.width

    def prepare(self, images: list[Pixels]) -> Any:
        from reid_toolkit.training.network import standardise, to_rgb

        return standardise(to_rgb(self.torch.from_numpy(super().prepare(images)).to(self.device)))

    def embed(self, images: list[Pixels]) -> Any:
        with self.torch.inference_mode():
            return self.torch.nn.functional.normalize(self.network(self.prepare(images)), dim=1).cpu().numpy()


class TorchEagerCuda(TorchEager):
    device = "cuda"


class Torchreid(TorchEager):
    """(b) torchreid's way: PIL, torchvision's transforms, torch."""

    def __init__(self, folder: Path, threads: int, batch: int) -> None:
        from torchvision import transforms

        super().__init__(folder, threads, batch)
        self.transform = transforms.Compose(
            [transforms.Resize(self.size), transforms.ToTensor(), transforms.Normalize(MEAN.tolist(), STD.tolist())]
        )

    def decode(self, content: bytes) -> Any:
        return open_rgb(content)

    def prepare(self, images: list[Any]) -> Any:
        return self.torch.stack([self.transform(to_pil(image)) for image in images])


class OnnxPil:
    """(c) PIL and numpy to normalised float planes, onnxruntime with its defaults, then numpy."""

    def __init__(self, folder: Path, threads: int, batch: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        path = str(folder / "plain.onnx")
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.size = tuple(self.session.get_inputs()[0].shape[2:])

    def decode(self, content: bytes) -> Any:
        return open_rgb(content)

    def prepare(self, images: list[Any]) -> Any:
        height, width = self.size
        rows = []
        for image in images:
            pixels = np.asarray(to_pil(image).resize((width, height)), np.float32) / 255
            rows.append(((pixels - MEAN) / STD).transpose(2, 0, 1))
        return np.stack(rows)

    def embed(self, images: list[Any]) -> Any:
        rows = self.session.run(None, {"images": self.prepare(images)})[0]
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class OnnxOpenCv(OnnxPil):
    """(d) onnxruntime with OpenCV and numpy. BoxMOT resizes by cv2 too, and then makes the planes in torch."""

    decode = Ours.decode

    def prepare(self, images: list[Pixels]) -> Any:
        height, width = self.size
        rows = [cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR) for image in images]
        planes = (np.stack(rows)[:, :, :, ::-1].astype(np.float32) / 255 - MEAN) / STD
        return np.ascontiguousarray(planes.transpose(0, 3, 1, 2))


WAYS: dict[str, Any] = {
    "ours": Ours, "ours int8": OursInt8, "torch eager": TorchEager, "torchreid way": Torchreid,
    "onnxruntime + PIL": OnnxPil, "onnxruntime + OpenCV": OnnxOpenCv,
    "openvino, our file": OpenVino, "openvino, our int8": OpenVinoInt8,
    "ours, openvino": OursOpenVino, "ours, chosen": OursChosen,
    "ours, CUDA": OursCuda, "torch eager, CUDA": TorchEagerCuda, "ours, TensorRT": OursTensorRt,
}  # fmt: skip
REFERENCE = "onnxruntime + PIL"


def open_rgb(content: bytes) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(content)).convert("RGB")


def to_pil(image: Any) -> Any:
    """A crop cut from a frame is a BGR array; a decoded picture is already PIL's."""
    from PIL import Image

    return Image.fromarray(image[:, :, ::-1]) if isinstance(image, np.ndarray) else image


def settle(network: Any, crops: list[Pixels], recipe: Any) -> None:
    """Set batch norm's statistics from the crops. Without it, random weights shrink their input, layer by layer, to
    numbers that no trained network has, and INT8's ranges would be wrong."""
    import torch

    from reid_toolkit.runtime.preprocess import to_batch
    from reid_toolkit.training.network import standardise, to_rgb

    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        network.train()(standardise(to_rgb(torch.from_numpy(to_batch(crops, recipe.height, recipe.width)))))
    network.eval()


def make_models(folder: Path, recipe: Any, crops: list[Pixels], ways: Iterable[str] = WAYS) -> dict[str, int]:
    """Make the files of one recipe from random weights: a run, our ONNX file, and if ``ways`` read them, our INT8 file
    and a plain one of float planes."""
    from reid_toolkit.export.onnx import export
    from reid_toolkit.export.quantize import quantize
    from reid_toolkit.training.network import build_network
    from reid_toolkit.training.run_folder import RunFolder, save_tensors

    run, plain = RunFolder(folder / "run"), folder / "plain.onnx"
    run.start(recipe, "0" * 16)
    network = build_network(recipe.network, seed=0)
    settle(network, crops, recipe.network)
    save_tensors(run.checkpoints / "initial.safetensors", network.state_dict(), {"stage": "initial"})
    export(run.path, folder / Ours.file, crops[:17], stage="initial")
    if any("int8" in way for way in ways):
        # The accuracy of random weights is of no interest; only the speed counts here.
        quantize(folder / Ours.file, folder / OursInt8.file, crops, crops, max_loss=float("inf"))
    if any(issubclass(WAYS[way], OnnxPil) for way in ways):
        save_plain(network, recipe, plain)
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.onnx")}
    (folder / "sizes.json").write_text(json.dumps(sizes))
    return sizes


def save_plain(network: Any, recipe: Any, plain: Path) -> None:
    """Write the network alone, as others export it."""
    import torch

    images = torch.zeros(2, 3, recipe.network.height, recipe.network.width)
    program = torch.onnx.export(
        network, (images,), dynamo=True, opset_version=18, verbose=False, input_names=["images"],
        dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
    )  # fmt: skip
    assert program is not None
    program.save(str(plain), external_data=False)
