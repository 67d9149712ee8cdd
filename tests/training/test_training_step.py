import gc
import os
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_backbone import SMALL
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from reid_toolkit.config import NetworkRecipe, Recipe, TrainingRecipe
from reid_toolkit.errors import RunError
from reid_toolkit.method.equations import repelled_loss
from reid_toolkit.method.lookup_table import LookupTable, in_passes
from reid_toolkit.training.augmentation import augment
from reid_toolkit.training.cuda_graph import GraphedStep
from reid_toolkit.training.devices import training_on
from reid_toolkit.training.network import ReidNetwork, build_network, standardise, to_rgb
from reid_toolkit.training.step import Batch, Embedder, Learner, make_optimiser, optimiser_state, restore_optimiser
from reid_toolkit.training.tensor_files import load_tensors, save_tensors

CPU = torch.device("cpu")
NETWORK = NetworkRecipe(SMALL, weights="none", embedding=16, height=32, width=32)
ON_GPU = replace(NETWORK, backbone="resnet18")
SETTINGS = TrainingRecipe(batch_size=4, frames=2, first_learning_rate=0.05)
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def batches(count: int, device: torch.device = CPU) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)

    def one() -> Batch:
        boxes = torch.eye(2, 3).expand(8, 2, 3) * (0.6 + 0.4 * torch.rand(8, 1, 1, generator=generator))
        return Batch(
            torch.randint(256, (8, 32, 32, 3), generator=generator, dtype=torch.uint8), boxes,
            0.8 + 0.4 * torch.rand(8, 5, generator=generator), None,
            torch.rand(4, 16, generator=generator) > 0.2, torch.randint(6, (4,), generator=generator),
        )  # fmt: skip

    return [Batch(*(part if part is None else part.to(device) for part in one())) for _ in range(count)]


def learner(settings: TrainingRecipe = SETTINGS, device: torch.device = CPU, **options: bool) -> Learner:
    rows = F.normalize(torch.randn(6, 16, generator=torch.Generator().manual_seed(1)))
    network = build_network(NETWORK if device == CPU else ON_GPU, 0).to(device)
    made = Learner(network, LookupTable(rows.to(device)), settings, **options)
    made.set_rate(settings.first_learning_rate)
    return made


def step(learner: Learner, batch: Batch) -> None:
    order, sizes = in_passes(batch.classes[None].cpu())
    learner.step(batch, batch.classes, order[0].to(learner.device).split(sizes[0]))


def test_a_step_is_the_papers_by_torchs_own_parts() -> None:
    """Mean over frames, Eq. 2, Nesterov's step with the backbone's rate a tenth of the head's, the table's update."""
    plain = replace(SETTINGS, backbone_factor=0.1)
    batch = batches(1)[0]._replace(boxes=None, colours=None, kept=None)
    ours, network = learner(plain), build_network(NETWORK, 0).train()
    pooled = network(standardise(to_rgb(batch.pixels)))
    embedded = network.embed((pooled[0::2] + pooled[1::2]) / 2)
    loss = repelled_loss(embedded, batch.classes, ours.table.rows, plain.temperature)
    loss.backward()
    expected = LookupTable(ours.table.rows)
    expected.update(embedded, batch.classes)
    step(ours, batch)
    assert float(ours.loss_sum) == pytest.approx(float(loss.detach()))
    torch.testing.assert_close(ours.table.rows, expected.rows)
    moved = dict(ours.network.named_parameters())
    for name, before in network.named_parameters():
        rate = 0.05 * (0.1 if name.startswith("backbone.") else 1)
        gradient = before.grad + 5e-4 * before
        torch.testing.assert_close(moved[name], before - rate * (gradient + 0.9 * gradient))


def test_the_loss_is_cross_entropy_to_the_bit() -> None:
    """Runs of versions that called torch's cross entropy go on with the same numbers."""
    table, results = learner().table, []
    generator = torch.Generator().manual_seed(2)
    rows, classes = F.normalize(torch.randn(64, 16, generator=generator)), torch.arange(64) % 6

    def ours(embedded: Tensor) -> Tensor:
        return repelled_loss(embedded, classes, table.rows, 0.1)

    def torchs(embedded: Tensor) -> Tensor:
        return F.cross_entropy(embedded @ table.rows.T / 0.1, classes)

    for loss_of in (ours, torchs):
        embedded = rows.clone().requires_grad_()
        loss = loss_of(embedded)
        loss.backward()
        results.append((loss.detach(), embedded.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_bfloat16_steps_much_the_same_way_and_keeps_weights_in_float32() -> None:
    """One step: with four samples a batch, batch norm blows rounding up from step to step, on each processor anew."""
    full, half = learner(), learner(replace(SETTINGS, precision="bfloat16"))
    before = parameters_to_vector(full.network.parameters()).detach().clone()
    for each in (full, half):
        step(each, batches(1)[0])
    assert float(half.loss_sum) == pytest.approx(float(full.loss_sum), rel=0.05)
    assert float(half.loss_sum) != float(full.loss_sum)
    moves = [parameters_to_vector(each.network.parameters()).detach() - before for each in (full, half)]
    assert float(F.cosine_similarity(*moves, dim=0)) > 0.7  # of hundreds of thousands of directions
    assert {value.dtype for value in half.network.parameters()} == {torch.float32}
    assert half.table.rows.dtype == torch.float32


def test_a_learner_goes_on_where_another_was() -> None:
    first, second, later = *batches(2), learner()
    one = learner()
    step(one, first)
    later.network.load_state_dict({key: value.clone() for key, value in one.network.state_dict().items()})
    later.table = LookupTable(one.table.rows)
    later.restore(one.momentum(), float(one.loss_sum))
    for each in (one, later):
        step(each, second)
    assert float(one.loss_sum) == float(later.loss_sum)
    assert torch.equal(one.table.rows, later.table.rows)
    for a, b in zip(one.network.state_dict().values(), later.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_too_little_memory_names_the_settings() -> None:
    recipe = Recipe(training=replace(SETTINGS, batch_size=64))
    said = r"cpu: out of memory with training.batch_size = 64.*256x128.*2 GiB.\): halve"
    with pytest.raises(RunError, match=said), training_on(CPU, recipe):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")
    assert not torch.backends.cudnn.benchmark


@gpu
@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_graph_learns_what_single_kernels_learn(precision: str) -> None:
    device, settings = torch.device("cuda"), replace(SETTINGS, precision=precision)
    eager, graphed = learner(settings, device), learner(settings, device, graph=True)
    for each in (eager, graphed):
        each.network.to(memory_format=torch.channels_last)
    losses = []
    for place, batch in enumerate(batches(12, device)):
        for each in (eager, graphed):
            if place == 8:
                each.set_rate(0.005)  # the graph reads it anew
            step(each, batch)
        losses.append([float(each.loss_sum) for each in (eager, graphed)])
    for a, b in losses:
        assert b == pytest.approx(a, rel=0.02 if precision == "bfloat16" else 2e-3)
    tolerance = 0.05 if precision == "bfloat16" else 5e-3
    torch.testing.assert_close(graphed.table.rows, eager.table.rows, atol=tolerance, rtol=0)
    assert int(graphed.network.backbone.bn1.num_batches_tracked) == 12


@gpu
@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_a_step_waits_for_nothing_on_a_gpu() -> None:
    device = torch.device("cuda")
    ours, prepared = learner(SETTINGS, device), batches(3, device)
    passes = [
        [part.to(device) for part in order[0].split(sizes[0])]
        for order, sizes in (in_passes(batch.classes[None].cpu()) for batch in prepared)
    ]
    ours.step(prepared[0], prepared[0].classes, passes[0])
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch, places in zip(prepared[1:], passes[1:], strict=True):
            ours.step(batch, batch.classes, places)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert float(ours.loss_sum) > 0


def test_deterministic_asks_torch_for_it_and_leaves_it_as_it_was(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # a choice of the user's stays
    with training_on(CPU, recipe):
        assert not torch.are_deterministic_algorithms_enabled()
    with training_on(CPU, recipe, deterministic=True):
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("graph", [False, True])
def test_a_stage_that_is_over_leaves_no_memory_behind(monkeypatch: pytest.MonkeyPatch, graph: bool) -> None:
    """Not even until Python looks for rings: a graph's memory is gigabytes. What a CPU lacks for one is played."""

    class Played(GraphedStep):
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, function: Callable[[Any], Tensor], inputs: Any) -> Tensor:
            self.calls += 1
            self.inputs, self.output = inputs, function(inputs)
            return self.output

    monkeypatch.setattr("reid_toolkit.training.step.GraphedStep", Played)
    gc.disable()
    try:
        made = learner(graph=graph)
        step(made, batches(1)[0])
        assert graph is (made._graph is not None and made._graph.calls == 1)
        gone = weakref.ref(made)
        del made
        assert gone() is None
    finally:
        gc.enable()


def test_weights_multiply_each_samples_loss() -> None:
    batch, losses = batches(1)[0]._replace(kept=None), {}
    for weights in ((1, 1, 1, 1), (1, 1, 1, 0), (2, 2, 2, 2), None):
        made = learner()
        step(made, batch._replace(weights=weights and torch.tensor(weights, dtype=torch.float32)))
        losses[weights] = float(made.loss_sum)
    network = build_network(NETWORK, 0).train()
    pixels = standardise(augment(to_rgb(batch.pixels), batch.boxes, batch.colours))
    embedded = network.embed(network(pixels).unflatten(0, (-1, 2)).mean(dim=1))
    each = F.cross_entropy(embedded @ learner().table.rows.T / 0.1, batch.classes, reduction="none")
    assert losses[1, 1, 1, 1] == pytest.approx(losses[None])
    assert losses[2, 2, 2, 2] == pytest.approx(2 * losses[None])
    assert losses[1, 1, 1, 0] == pytest.approx(float(each[:3].sum().detach() / 4), rel=1e-4)


HEAD = NetworkRecipe(
    SMALL, weights="none", embedding=0, dropout=0.0, head="batch_norm", pooling="generalised_mean", height=32, width=32
)


def descend(network: ReidNetwork, optimiser: torch.optim.Optimizer, seed: int) -> None:
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    optimiser.zero_grad()
    network.train().embed(network(images))[:, :3].sum().backward()
    optimiser.step()


@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_what_an_optimiser_keeps_comes_back_to_the_bit(name: str, layout: torch.memory_format, tmp_path: Path) -> None:
    recipe = replace(SETTINGS, optimiser=name)
    one, other = (build_network(HEAD, 0).to(memory_format=layout) for _ in range(2))
    first, second = (make_optimiser(network, recipe, CPU) for network in (one, other))
    assert optimiser_state(first, one) == {}
    descend(one, first, 0)
    save_tensors(tmp_path / "kept", optimiser_state(first, one), {"stage": "0"})
    kept, _ = load_tensors(tmp_path / "kept")
    learned = {key for key, parameter in one.named_parameters() if parameter.requires_grad}
    what = {"adam": ("exp_avg:", "exp_avg_sq:", "step:"), "sgd": ("",)}[name]
    assert set(kept) == {part + key for part in what for key in learned}
    other.load_state_dict({key: value.clone() for key, value in one.state_dict().items()})
    restore_optimiser(second, other, kept)
    for seed in (1, 2):
        for network, optimiser in ((one, first), (other, second)):
            descend(network, optimiser, seed)
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    fresh, third = build_network(HEAD, 0).to(memory_format=layout), None
    descend(fresh, make_optimiser(fresh, recipe, CPU), 0)
    third = make_optimiser(fresh, recipe, CPU)  # begins anew
    for seed in (1, 2):
        descend(fresh, third, seed)
    assert not torch.equal(fresh.feature_norm.weight, one.feature_norm.weight)


def test_a_single_number_goes_where_its_parameter_is() -> None:
    """The exponent of pooling is one; its momentum must follow it to a GPU, which "meta" plays here."""
    network = build_network(HEAD, 0).to("meta")
    for name, kept in (("sgd", ""), ("adam", "exp_avg:")):
        optimiser = make_optimiser(network, replace(SETTINGS, optimiser=name), CPU)
        exponent = network.backbone.avgpool.exponent
        restore_optimiser(optimiser, network, {f"{kept}backbone.avgpool.exponent": torch.tensor(0.5)})
        assert {value.device.type for value in optimiser.state[exponent].values()} == {"meta"}


def test_batch_norm_counts_a_part_of_the_crops_at_a_time() -> None:
    images = torch.randn(8, 3, 32, 32)
    recipe = replace(SETTINGS, frames=1, batch_size=8)
    pairs, whole = (replace(recipe, norm_crops=crops) for crops in (2, 0))
    found = {}
    for name, chosen, processes in (
        ("pairs", pairs, 1),
        ("whole", whole, 1),
        ("both", replace(pairs, norm_crops=4), 2),
    ):
        network = build_network(HEAD, 0).train()
        with torch.no_grad():
            found[name] = Embedder(network, chosen, processes)(images, None)
            assert int(network.feature_norm.num_batches_tracked) == (1 if name == "whole" else 4)
    with torch.no_grad():
        alone = torch.cat([Embedder(build_network(HEAD, 0).train(), whole)(part, None) for part in images.split(2)])
    torch.testing.assert_close(found["pairs"], alone)
    torch.testing.assert_close(found["both"], alone)  # two processes have half of each part
    assert not torch.allclose(found["whole"], alone, atol=0.1)
