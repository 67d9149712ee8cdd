"""INT8 variants of a model whose ranges are known, as quantise and dequantise pairs (QDQ) that every runtime reads."""

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
    """What a kind of processor multiplies fastest and without overflow. Weights are signed, a scale a channel."""

    activations: QuantType
    seven_bits: bool
    """Weights of 7 bits: where products are summed in pairs into 16 bits, those of 8 can overflow."""


TARGETS = {
    "x86": Target(QuantType.QUInt8, seven_bits=False),
    "x86-avx2": Target(QuantType.QUInt8, seven_bits=True),
    "arm": Target(QuantType.QInt8, seven_bits=False),
}
"""x86: with VNNI (Intel from Cascade Lake, AMD from Zen 4); x86-avx2: without. arm: also what TensorRT wants."""

CPUINFO = Path("/proc/cpuinfo")


def target_here() -> str:
    """Which of ``TARGETS`` fits this machine; x86-avx2, which is right on every x86, where its processor says nothing.

    x86 on one with AVX2 alone is no faster and can be wrong; the other way round is right and nearly as fast.
    """
    if platform.machine().lower() in ("aarch64", "arm64", "armv7l", "armv8l"):
        return "arm"
    try:
        flags = CPUINFO.read_text().split()
    except OSError:
        flags = []
    return "x86" if {"avx512_vnni", "avx_vnni"} & set(flags) else "x86-avx2"


LAYERS = ("Conv", "Add", "Mul")
"""Kinds of nodes that have arithmetic of their own in INT8; activations go with the node before them."""


def layers(ranged: RangedModel) -> list[str]:
    """Names of the nodes that can each be in INT8 or in float, in the order they run."""
    inside = set(ranged.nodes)
    return [node.name for node in ranged.model.graph.node if node.name in inside and node.op_type in LAYERS]


def insert_int8(ranged: RangedModel, target: str, in_float: Collection[str]) -> onnx.ModelProto:
    """The model in INT8 but for the layers ``in_float``. It takes and gives what the float model does."""
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
    """Where the first convolution is in INT8, give it the crops' bytes themselves.

    Casting, subtracting GREY and quantising with scale 1 and zero point GREY give back the byte that came in.
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
