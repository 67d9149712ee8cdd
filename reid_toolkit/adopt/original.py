"""Runs the file with its maker's runtime. An adopted model must match it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from reid_toolkit.adopt.contract import Contract
from reid_toolkit.adopt.network import Network
from reid_toolkit.adopt.openvino_graph import result_name, tensor_name
from reid_toolkit.errors import InputError
from reid_toolkit.images import Image
from reid_toolkit.runtime.openvino import import_openvino
from reid_toolkit.runtime.preprocess import to_batch
from reid_toolkit.runtime.session import open_session

Run = Callable[[NDArray[Any]], NDArray[Any]]
"""Maps an input with as many pictures as the file's batch to the output that was chosen."""


class Original:
    """Embeds crops with the unchanged file, with the interface of :class:`reid_toolkit.runtime.Embedder`.

    Pixels are prepared here in numpy, step by step as ``contract`` says; the graph is not changed.
    """

    def __init__(self, run: Run, network: Network, contract: Contract) -> None:
        self.run, self.network, self.contract = run, network, contract

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Map (H, W, 3) uint8 BGR images of any sizes to (B, D) float32 rows of length 1."""
        pixels = to_batch(images, self.network.height, self.network.width)
        step = self.network.batch or 1
        return np.concatenate([self.rows(pixels[at : at + step]) for at in range(0, len(pixels), step)])

    def rows(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return descriptors of up to a batch of pictures. A fixed batch is filled up."""
        count = len(pixels)
        if self.network.batch:
            pixels = np.resize(pixels, (self.network.batch, *pixels.shape[1:]))
        if self.network.kind == TensorProto.UINT8:
            values: NDArray[Any] = pixels[..., ::-1] if self.contract.order == "rgb" else pixels
            values = values if self.network.nhwc else values.transpose(0, 3, 1, 2)
        else:
            values = self.contract.apply(pixels)
            values = values.transpose(0, 2, 3, 1) if self.network.nhwc else values
        rows = self.run(np.ascontiguousarray(values))[:count].astype(np.float32)
        rows = rows.mean(self.network.pooled) if self.network.pooled else rows
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(rows / np.maximum(lengths, 1e-12), np.float32)


def by_onnxruntime(model: onnx.ModelProto, network: Network) -> Run:
    """Run the file's own graph in its own precision and opset. ``model`` is from :func:`network.load`."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if all(value.name != network.output for value in copy.graph.output):
        copy.graph.output.append(helper.make_empty_tensor_value_info(network.output))
    session = open_session(copy.SerializeToString(), network.where, providers=["cpu"])
    taken = next(entry for entry in session.get_inputs() if entry.name == network.input)
    dtype = {"tensor(float16)": np.float16, "tensor(double)": np.float64}.get(taken.type)

    def run(values: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(
            session.run([network.output], {taken.name: values if dtype is None else values.astype(dtype)})[0]
        )

    return run


def by_openvino(xml: Path, network: Network) -> Run:
    """Run the file with OpenVINO in float32. Raises :class:`InputError` if it has no tensor of the output's name."""
    openvino = import_openvino(network.where)
    core = openvino.Core()
    model = core.read_model(xml)
    place = place_of(model, network)
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(values: NDArray[Any]) -> NDArray[Any]:
        outputs = compiled([values])
        return np.asarray(outputs[compiled.output(place)])

    return run


def place_of(model: Any, network: Network) -> int:
    """Return the position of the chosen output among the model's outputs. A tensor inside becomes the last of them."""
    results = [result_name(result.input(0).get_source_output()) for result in model.get_results()]
    if network.output in results:
        return results.index(network.output)
    for operation in model.get_ordered_ops():
        for port in operation.outputs():
            if tensor_name(port) == network.output:
                model.add_outputs(port)
                return len(results)
    raise InputError(
        f"{network.where}: {network.output!r} is a step inside one operation of OpenVINO, which cannot be compared: "
        "expected --output to be an output, or the name of an operation"
    )
