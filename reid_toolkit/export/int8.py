"""Makes INT8 variants of a model with known ranges, as quantise and dequantise pairs (QDQ), which every runtime
reads."""

import copy
import platform
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnxruntime.quantization import QDQQuantizer, QuantType

from reid_toolkit.export.activation_ranges import RangedModel
from reid_toolkit.export.graph_rewrites import align_hard_sigmoids, clip_hard_sigmoids, pool_in_bytes, widen_stem


@dataclass(frozen=True)
class Target:
    """The INT8 form that a kind of processor multiplies fastest without overflow.

    Weights are signed, with one scale per channel.
    """

    activations: QuantType
    seven_bits: bool
    """Use 7-bit weights, for processors that sum products in pairs into 16 bits, where 8-bit weights can overflow."""


TARGETS = {
    "x86": Target(QuantType.QUInt8, seven_bits=False),
    "x86-avx2": Target(QuantType.QUInt8, seven_bits=True),
    "arm": Target(QuantType.QInt8, seven_bits=False),
}
"""x86: with VNNI (Intel from Cascade Lake, AMD from Zen 4). x86-avx2: without. arm: also the form for TensorRT."""

CPUINFO = Path("/proc/cpuinfo")


def target_here() -> str:
    """Return which of ``TARGETS`` fits this machine. If the processor does not say, return x86-avx2, which is correct
    on every x86.

    On a processor with only AVX2, x86 is no faster and can be wrong. x86-avx2 on a processor with VNNI is correct and
    nearly as fast.
    """
    if platform.machine().lower() in ("aarch64", "arm64", "armv7l", "armv8l"):
        return "arm"
    try:
        flags = CPUINFO.read_text().split()
    except OSError:
        flags = []
    return "x86" if {"avx512_vnni", "avx_vnni"} & set(flags) else "x86-avx2"


LAYERS = ("Conv", "Add", "Mul")
"""Kinds of nodes that compute in INT8 by themselves. An activation belongs to the node before it."""


def layers(ranged: RangedModel) -> list[str]:
    """Return the names of the nodes that can each be INT8 or float, in the order in which they run."""
    inside = set(ranged.nodes)
    return [node.name for node in ranged.model.graph.node if node.name in inside and node.op_type in LAYERS]


def insert_int8(ranged: RangedModel, target: str, in_float: Collection[str]) -> onnx.ModelProto:
    """Return the model in INT8 except for the layers ``in_float``. Inputs and outputs are those of the float model."""
    chosen = TARGETS[target]
    model, ranges = copy.deepcopy((ranged.model, ranged.ranges))
    unsigned = chosen.activations == QuantType.QUInt8
    if unsigned:
        align_hard_sigmoids(model, ranges)
    nodes = [name for name in ranged.nodes if name not in in_float]
    if ranged.pixels and ranged.nodes[0] not in in_float:
        nodes += widen_stem(model, ranges, ranged.pixels)
    quantizer = QDQQuantizer(
        model, per_channel=True, reduce_range=chosen.seven_bits,
        weight_qType=QuantType.QInt8, activation_qType=chosen.activations,
        tensors_range=ranges, nodes_to_quantize=nodes, nodes_to_exclude=[],
        op_types_to_quantize=[*LAYERS, "Relu", "Clip", "Sigmoid", "MaxPool", "Concat", "Split", "Transpose", "Reshape"],
        extra_options={},
    )  # fmt: skip
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    model = quantizer.model.model
    if unsigned:
        if ranged.pixels:
            feed_bytes(model, ranged.pixels)
        clip_hard_sigmoids(model)
    pool_in_bytes(model)
    return model


def feed_bytes(model: onnx.ModelProto, pixels: str) -> None:
    """If the first convolution is in INT8, connect it directly to the crops' bytes.

    Casting, subtracting GREY and quantising with scale 1 and zero point GREY would give back the input byte.
    """
    graph = model.graph
    made_by = {name: node for node in graph.node for name in node.output}
    quantise = next((n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == pixels), None)
    if quantise is None:
        return
    subtract = made_by[pixels]
    cast = made_by[subtract.input[0]]
    dequantise = next(n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] == quantise.output[0])
    dequantise.input[0] = cast.input[0]
    for node in (quantise, subtract, cast):
        graph.node.remove(node)
