"""The lookup table against loops, and its rows against the clusters they stand for."""

import pytest
import torch
from torch.nn.functional import normalize

from reid_toolkit.errors import InputError
from reid_toolkit.method.lookup_table import LookupTable, in_passes
from reid_toolkit.method.merging import merge_clusters


@pytest.fixture
def features():
    return normalize(torch.randn(12, 5, generator=torch.Generator().manual_seed(0)))


def test_row_c_is_the_normalised_mean_of_new_cluster_c(features):
    labels = merge_clusters(features, torch.arange(12), 6).labels
    table = LookupTable.from_clusters(features, labels)
    assert table.rows.shape == (6, 5)
    for c in range(6):
        torch.testing.assert_close(table.rows[c], normalize(features[labels == c].mean(dim=0), dim=0))


def test_update_is_a_loop_in_batch_order(features):
    labels = torch.tensor([2, 0, 2, 2, 1, 0])
    table = LookupTable(features[:4])
    expected = features[:4].clone()
    for v, y in zip(features[6:], labels, strict=True):
        expected[y] = normalize((expected[y] + v) / 2, dim=0)
    table.update(features[6:], labels)
    torch.testing.assert_close(table.rows, expected)
    assert not torch.equal(table.rows[2], features[2])
    assert torch.equal(table.rows[3], features[3])


@pytest.mark.parametrize("classes", [1, 3, 100])
def test_passes_known_before_give_the_loops_rows(classes):
    generator = torch.Generator().manual_seed(classes)
    labels = torch.randint(classes, (4, 16), generator=generator)
    rows, batch = (normalize(torch.randn(n, 5, generator=generator)) for n in (classes, 16))
    order, sizes = in_passes(labels)
    for step, each in enumerate(labels):
        expected = rows.clone()
        for v, y in zip(batch, each, strict=True):
            expected[y] = normalize((expected[y] + v) / 2, dim=0)
        table, alone = LookupTable(rows), LookupTable(rows)
        table.update(batch, each, order[step].split(sizes[step]))
        alone.update(batch, each)
        torch.testing.assert_close(table.rows, expected)
        assert torch.equal(table.rows, alone.rows)


def test_a_pass_takes_no_class_twice_and_passes_keep_their_order():
    labels = torch.tensor([[2, 0, 2, 2, 1, 0], [5, 4, 3, 2, 1, 0]])
    order, sizes = in_passes(labels)
    assert sizes == [[3, 2, 1], [6]]
    assert [part.tolist() for part in order[0].split(sizes[0])] == [[0, 1, 4], [2, 5], [3]]
    assert order[1].tolist() == list(range(6))


def test_momentum_is_what_a_row_keeps(features):
    table = LookupTable(features[:2], momentum=1.0)
    table.update(features[4:6], torch.tensor([0, 1]))
    torch.testing.assert_close(table.rows, features[:2])


def test_gradients_reach_features_and_never_the_table(features):
    batch = features[:3].clone().requires_grad_()
    table = LookupTable(features[3:])
    (batch @ table.rows.T / 0.1).logsumexp(dim=1).sum().backward()
    assert batch.grad is not None
    table.update(batch, torch.tensor([0, 1, 1]))
    assert not table.rows.requires_grad


def test_update_leaves_the_tensor_it_was_made_from_alone(features):
    before = features.clone()
    LookupTable(features).update(features.flip(0), torch.arange(12))
    assert torch.equal(features, before)


def test_the_state_is_the_rows(features):
    table = LookupTable.from_clusters(features, torch.arange(12) // 2)
    again = LookupTable(table.rows.clone())
    for each in (table, again):
        each.update(features[:4], torch.tensor([0, 0, 1, 5]))
    assert torch.equal(table.rows, again.rows)


def test_bad_input_is_named(features):
    with pytest.raises(InputError, match="a cluster has no sample"):
        LookupTable.from_clusters(features[:3], torch.tensor([0, 2, 2]))
    with pytest.raises(InputError, match="3 embeddings but 2 labels"):
        LookupTable.from_clusters(features[:3], torch.tensor([0, 1]))
    with pytest.raises(InputError, match="shape"):
        LookupTable(features[0])
    with pytest.raises(InputError, match="momentum is 2"):
        LookupTable(features, momentum=2)
