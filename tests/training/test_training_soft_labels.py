"""How alike to all clusters a teacher finds a sample, as a part of the loss."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from reid_toolkit.method.equations import repelled_loss
from reid_toolkit.training.soft_labels import SoftLabels

CPU = torch.device("cpu")
TEMPERATURE = 0.05


def rows(count: int, width: int, seed: int) -> Tensor:
    return normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)))


def test_the_teachers_clusters_are_the_means_of_its_rows_of_those_that_are_learned() -> None:
    lessons, classes = rows(5, 3, 0), torch.tensor([1, -1, 0, 1, 0])
    means = SoftLabels.of(lessons, classes, 0.5, CPU).means
    assert torch.allclose(means[0], normalize(lessons[[2, 4]].mean(0), dim=0), atol=1e-6)
    assert torch.allclose(means[1], normalize(lessons[[0, 3]].mean(0), dim=0), atol=1e-6)


def test_the_loss_is_as_written() -> None:
    embedded, table, lessons, means = rows(4, 6, 1), rows(3, 6, 2), rows(4, 5, 3), rows(3, 5, 4)
    found = SoftLabels(means, 0.3).add(torch.tensor(2.0), embedded, lessons, table, TEMPERATURE)
    entropy = 0.0
    for own, lesson in zip(embedded, lessons, strict=True):
        wanted = torch.exp(means @ lesson / TEMPERATURE)
        given = torch.exp(table @ own / TEMPERATURE)
        entropy -= float((wanted / wanted.sum() * torch.log(given / given.sum())).sum()) / 4
    assert float(found) == pytest.approx(0.7 * 2 + 0.3 * entropy, rel=1e-4)


def test_without_a_share_it_is_the_clusters_loss_alone() -> None:
    embedded, table, labels = rows(4, 6, 1), rows(3, 6, 2), torch.tensor([0, 1, 2, 0])
    loss = repelled_loss(embedded, labels, table, TEMPERATURE)
    assert float(SoftLabels(rows(3, 5, 4), 0.0).add(loss, embedded, rows(4, 5, 3), table, TEMPERATURE)) == float(loss)


def test_it_is_least_where_the_student_sees_as_the_teacher_does() -> None:
    lessons, means = rows(4, 6, 3), rows(3, 6, 4)
    soft, embedded = SoftLabels(means, 1.0), rows(4, 6, 1).requires_grad_()
    best = float(soft.add(torch.tensor(0.0), lessons, lessons, means, TEMPERATURE))
    before = soft.add(torch.tensor(0.0), embedded.detach(), lessons, means, TEMPERATURE)
    assert float(before) > best + 0.1
    optimiser = torch.optim.Adam([embedded], lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        soft.add(torch.tensor(0.0), normalize(embedded), lessons, means, TEMPERATURE).backward()
        optimiser.step()
    after = soft.add(torch.tensor(0.0), normalize(embedded).detach(), lessons, means, TEMPERATURE)
    assert float(after) < best + 1e-2
