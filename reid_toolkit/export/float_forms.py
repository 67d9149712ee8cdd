"""Forms of a float model: operators for which onnxruntime has fast kernels, and nodes that must stay float in INT8."""

import onnx
from onnx import helper

GELU_OPSET = 20
"""The first opset with the operator Gelu. Nothing else that torch exports for us changed from opset 18 to it."""


def join_gelus(model: onnx.ModelProto) -> None:
    """Replace each GELU, x * ((1 + erf(x / sqrt(2))) / 2), by ONNX's own operator. Changes ``model``.

    torch exports a GELU as five steps over the whole map, which onnxruntime does not join: more than half of a RepViT's
    time, and in INT8 five roundings. A model with a GELU becomes opset 20; others stay unchanged.
    """
    graph = model.graph
    made_by = {name: node for node in graph.node for name in node.output}
    readers = readers_of(graph)
    constants = {tensor.name for tensor in graph.initializer}
    for erf in [node for node in graph.node if node.op_type == "Erf"]:
        divided = made_by.get(erf.input[0])
        chain = [erf]
        for kind in ("Add", "Mul", "Mul"):
            after = readers.get(chain[-1].output[0], [])
            if [node.op_type for node in after] != [kind]:
                break
            chain.append(after[0])
        if len(chain) < 4 or divided is None or divided.op_type != "Div" or divided.input[1] not in constants:
            continue
        halved, whole = chain[2:]
        if len(constants & set(halved.input)) == 1 and set(whole.input) == {divided.input[0], halved.output[0]}:
            gelu = helper.make_node("Gelu", [divided.input[0]], list(whole.output), erf.name)
            graph.node.insert(list(graph.node).index(whole), gelu)
            for gone in (divided, *chain):
                graph.node.remove(gone)
    if any(node.op_type == "Gelu" for node in graph.node):
        (opset,) = (entry for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        opset.version = max(opset.version, GELU_OPSET)


def attention(graph: onnx.GraphProto) -> set[str]:
    """Return the names of the nodes of attention: those connected, without a convolution or a sum between, to a product
    of two computed matrices. Their values have such wide ranges that INT8 would lose most of the precision."""
    constants = {tensor.name for tensor in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    readers = readers_of(graph)
    queue = [node for node in graph.node if node.op_type == "MatMul" and not constants & set(node.input)]
    names = {node.name for node in queue}
    while queue:
        node = queue.pop()
        near = [made_by[name] for name in node.input if name in made_by]
        near += [reader for name in node.output for reader in readers.get(name, [])]
        new = [other for other in near if other.op_type not in ("Conv", "Add") and other.name not in names]
        names |= {other.name for other in new}
        queue += new
    return names


def readers_of(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """Return for each tensor's name the nodes that read it."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers
