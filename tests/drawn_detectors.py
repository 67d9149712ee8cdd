"""Detectors of people as small graphs, in the forms that real ones are exported in."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 64
FRAME = np.zeros((96, 128, 3), np.uint8)
"""Enters a 64x64 input at half its size, or stretched."""
PERSON = np.array([16, 10, 30, 40], np.float32)
"""x1 y1 x2 y2 in the model's input."""
SQUARE: list[int | str] = [1, 3, SIDE, SIDE]


def save(
    path: Path,
    inputs: list[int | str],
    outputs: dict[str, np.ndarray],
    *,
    kind: int | None = None,
    nodes: list[Any] | None = None,
    sizes: bool = False,
    names: str = "",
    mean: str = "",
) -> Path:
    """A model which gives ``outputs`` whatever it is shown, after ``nodes``, which may make some of them.

    With ``sizes`` it has the second input of RT-DETR; ``names`` of classes and ``mean`` stand in its metadata.
    """
    half = any(value.dtype == np.float16 for value in outputs.values())
    kind = kind or (TensorProto.FLOAT16 if half else TensorProto.FLOAT)
    made = {name for node in nodes or [] for name in node.output}
    constants = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
        for name, value in outputs.items()
        if name not in made
    ]
    declared = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in outputs.items()
    ]
    given = [helper.make_tensor_value_info("images", kind, inputs)]
    if sizes:
        given.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, ["N", 2]))
    model = helper.make_model(
        helper.make_graph([*(nodes or []), *constants], "tiny", given, declared),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    said = {"model_info labels": names, "model_info mean_values": mean}
    helper.set_model_props(model, {name: value for name, value in said.items() if value})
    onnx.save(model, str(path))
    return path


def ssd_rows(*rows: tuple[float, float, float]) -> np.ndarray:
    """(1, 1, N, 7): PERSON by (image, label, score)."""
    box = PERSON / SIDE
    return np.array([[[(*row, *box) for row in rows]]], np.float32).reshape(1, 1, -1, 7)


def mean_colours(axes: tuple[int, int] = (2, 3)) -> list[Any]:
    """Nodes whose "colours" (3,) are the means of the picture's channels."""
    return [
        helper.make_node("ReduceMean", ["images"], ["means"], axes=list(axes), keepdims=0),
        helper.make_node("Squeeze", ["means"], ["colours"]),
    ]


def constant(name: str, value: Any) -> Any:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value, np.float32)))
