"""Writes an ONNX file of ours after checking it."""

from pathlib import Path

import onnx

from reid_toolkit.errors import ModelError
from reid_toolkit.runtime.metadata import ModelMetadata


def save_model(model: onnx.ModelProto, metadata: ModelMetadata, path: Path) -> None:
    """Write the model as one file with all weights inside, after onnx's checker and shape inference have accepted it.

    Raises :class:`ModelError` unless it maps (batch, H, W, 3) uint8, with a free batch, to (batch, D) float32, and all
    its weights are inside.
    """
    onnx.helper.set_model_props(model, metadata.to_strings())
    try:
        onnx.checker.check_model(model, full_check=True)
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"export refused: onnx's checker says: {str(error).splitlines()[0]}") from None
    got = [describe(end) for end in (*graph.input, *graph.output)]
    expected = [
        (onnx.TensorProto.UINT8, ["batch", metadata.height, metadata.width, 3]),
        (onnx.TensorProto.FLOAT, ["batch", metadata.dimension]),
    ]
    outside = [tensor.name for tensor in graph.initializer if onnx.external_data_helper.uses_external_data(tensor)]
    if got != expected or outside:
        raise ModelError(
            f"export refused: expected inputs and outputs {expected}, weights inside; got {got}, {outside}"
        )
    onnx.save_model(model, path, save_as_external_data=False)


def describe(end: onnx.ValueInfoProto) -> tuple[int, list[str | int]]:
    """Return element type and shape, where a dynamic axis is given by its name."""
    tensor = end.type.tensor_type
    return tensor.elem_type, [axis.dim_param or axis.dim_value for axis in tensor.shape.dim]
