"""GELUs by one name, what of a graph is attention, and what convolution sees the picture."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from torch import Tensor, nn
from torch.nn import functional as F

from reid_toolkit.config import NetworkRecipe
from reid_toolkit.export.float_forms import GELU_OPSET, attention, join_gelus
from reid_toolkit.export.serving import ServingNetwork, seeing
from reid_toolkit.training.network import build_network, standardise, to_rgb


def model_of(nodes: list[onnx.NodeProto], constants: dict[str, float | np.ndarray]) -> onnx.ModelProto:
    """From x to y, both (4,)."""
    values = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "small", ends[:1], ends[1:], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def gelu(root: str = "x") -> onnx.ModelProto:
    nodes = [
        helper.make_node("Div", ["x", "root2"], ["scaled"], "a"),
        helper.make_node("Erf", ["scaled"], ["erf"], "b"),
        helper.make_node("Add", ["erf", "one"], ["sum"], "c"),
        helper.make_node("Mul", ["half", "sum"], ["share"], "d"),
        helper.make_node("Mul", [root, "share"], ["y"], "e"),
    ]
    return model_of(nodes, {"root2": 2**0.5, "one": 1, "half": 0.5, "z": 3})


def run(model: onnx.ModelProto) -> np.ndarray:
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": np.array([-2, -0.5, 0, 3], np.float32)})[0])


def test_a_gelu_becomes_one_operator_and_gives_the_same() -> None:
    model = gelu()
    before = run(model)
    join_gelus(model)
    assert [node.op_type for node in model.graph.node] == ["Gelu"]
    assert model.opset_import[0].version == GELU_OPSET
    np.testing.assert_allclose(run(model), before, atol=1e-6)
    np.testing.assert_allclose(before, F.gelu(torch.tensor([-2, -0.5, 0, 3])).numpy(), atol=1e-6)


def test_what_only_looks_like_a_gelu_is_left() -> None:
    model = gelu(root="z")  # another factor than what the erf is of
    before = model.SerializeToString()
    join_gelus(model)
    assert model.SerializeToString() == before


def test_attention_ends_at_convolutions_and_sums() -> None:
    names = ("Conv x,w q", "Reshape q,shape k", "MatMul q,k s", "Softmax s p", "Add p,x r", "Relu r t", "MatMul t,w y")
    nodes = []
    for number, text in enumerate(names):
        kind, given, made = text.split()
        nodes.append(helper.make_node(kind, given.split(","), [made], f"{kind}_{number}"))
    assert attention(model_of(nodes, {"w": 1, "shape": 1}).graph) == {"Reshape_1", "MatMul_2", "Softmax_3"}


class Twice(nn.Module):
    """Two convolutions that see the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.keep, self.one, self.two = nn.Identity(), nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.one(self.keep(images)) + self.two(images)
        return out.mean((2, 3))


def test_the_convolution_that_sees_the_picture_is_found() -> None:
    twice = Twice()
    assert seeing(twice, (8, 8)) is None
    assert seeing(nn.Sequential(nn.Identity(), twice.one), (8, 8)) is twice.one
    assert seeing(nn.Sequential(nn.ReLU(), twice.one), (8, 8)) is None


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_byobnet", "two convolutions"])
def test_serving_gives_what_training_gives(name: str) -> None:
    """Of models that want another mean than ImageNet's, are fused, or whose first layer takes no scale."""
    pytest.importorskip("timm", reason="timm is not installed")
    timms = name.startswith("timm:")
    recipe = NetworkRecipe(name if timms else "resnet18", weights="none", embedding=8, height=64, width=32)
    network = build_network(recipe, seed=0).eval()
    if not timms:
        network.backbone = Twice()
    pixels = torch.randint(0, 256, (3, 64, 32, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    with torch.no_grad():
        features = F.normalize(network(standardise(to_rgb(pixels))))
        served = ServingNetwork(network)(pixels)
    torch.testing.assert_close(served, features, atol=1e-5, rtol=0)
