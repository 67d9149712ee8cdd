"""The file as its maker's runtime runs it: what an adopted model must equal."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from reid_toolkit.adopt.contract import Contract
from reid_toolkit.adopt.network import Network
from reid_toolkit.images import Image
from reid_toolkit.runtime.openvino import import_openvino
from reid_toolkit.runtime.preprocess import to_batch
from reid_toolkit.runtime.session import open_session

Run = Callable[[NDArray[Any]], NDArray[Any]]
"""Its input, as many pictures as its batch, to the output that was chosen."""


class Original:
    """Embeds crops with the file as it lies; by the names of :class:`reid_toolkit.runtime.Embedder`.

    Pixels are prepared here in numpy, step by step as ``contract`` says, and nothing of the graph is changed.
    """

    def __init__(self, run: Run, network: Network, contract: Contract) -> None:
        self.run, self.network, self.contract = run, network, contract

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(H, W, 3) uint8 BGR images of any sizes -> (B, D) float32 rows of length 1."""
        pixels = to_batch(images, self.network.height, self.network.width)
        step = self.network.batch or 1
        return np.concatenate([self.rows(pixels[at : at + step]) for at in range(0, len(pixels), step)])

    def rows(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Descriptors of up to a batch of pictures; a batch that is fixed is filled up."""
        count = len(pixels)
        if self.network.batch:
            pixels = np.resize(pixels, (self.network.batch, *pixels.shape[1:]))
        if self.network.kind == TensorProto.UINT8:
            values: NDArray[Any] = pixels[..., ::-1] if self.contract.order == "rgb" else pixels
            values = values if self.network.nhwc else values.transpose(0, 3, 1, 2)
        else:
            values = self.contract.apply(pixels)
            values = values.transpose(0, 2, 3, 1) if self.network.nhwc else values
        found = self.run(np.ascontiguousarray(values))[:count].astype(np.float32)
        found = found.mean(self.network.pooled) if self.network.pooled else found
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        return np.asarray(found / np.maximum(lengths, 1e-12), np.float32)


def by_onnxruntime(model: onnx.ModelProto, network: Network) -> Run:
    """Run the file's own graph, of its own precision and opset; ``model`` is what :func:`network.load` gave."""
    held = onnx.ModelProto()
    held.CopyFrom(model)
    if all(value.name != network.output for value in held.graph.output):
        held.graph.output.append(helper.make_empty_tensor_value_info(network.output))
    session = open_session(held.SerializeToString(), network.where, providers=["cpu"])
    taken = next(entry for entry in session.get_inputs() if entry.name == network.input)
    dtype = {"tensor(float16)": np.float16, "tensor(double)": np.float64}.get(taken.type)

    def run(values: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(
            session.run([network.output], {taken.name: values if dtype is None else values.astype(dtype)})[0]
        )

    return run


def by_openvino(xml: Path, network: Network) -> Run:
    """Run the file with OpenVINO in float32."""
    openvino = import_openvino(network.where)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(xml), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(values: NDArray[Any]) -> NDArray[Any]:
        found = compiled([values])
        return np.asarray(found[compiled.output(network.output)])

    return run
