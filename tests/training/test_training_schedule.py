import pytest

from reid_toolkit.config import Recipe, RoundsRecipe, TrainingRecipe
from reid_toolkit.recipe_files import difference, load_recipe
from reid_toolkit.training.schedule import Plan, epochs, learning_rate, plan, steps_per_epoch


def test_the_papers_schedule() -> None:
    """Market-1501: 12,936 images, k = 646, 20 stages, of 20 epochs and then 19 times 2."""
    schedule = plan(load_recipe("dbc"), 12_936)
    assert (schedule.merges, schedule.stages) == (646, 20)
    assert schedule.steps == (20 * 808, *[2 * 808] * 19)
    assert 12_936 - 19 * 646 > 646


@pytest.mark.parametrize(("count", "merges", "stages"), [(2, 1, 1), (3, 1, 2), (12, 3, 3), (13, 3, 4), (40, 10, 3)])
def test_it_trains_while_more_clusters_than_k_are_left(recipe: Recipe, count: int, merges: int, stages: int) -> None:
    schedule = plan(recipe, count)
    assert (schedule.merges, schedule.stages) == (merges, stages)
    trained = [count - stage * merges for stage in range(stages)]
    assert trained[-1] > merges
    assert trained[-1] - merges <= merges


@pytest.mark.parametrize(("size", "batches", "left_out"), [(3, 3, 1), (4, 2, 2), (16, 1, 0), (10, 1, 0)])
def test_a_last_batch_that_is_not_full_is_left_out_unless_it_is_the_only_one(
    size: int, batches: int, left_out: int
) -> None:
    assert steps_per_epoch(10, size) == batches
    assert 10 - batches * min(size, 10) == left_out


def test_the_papers_learning_rates() -> None:
    recipe = Recipe()
    rates = [learning_rate(recipe, 100, 0, epoch) for epoch in range(epochs(recipe, 0))]
    assert rates == [0.1] * 15 + [0.1 / 10] * 5
    assert [learning_rate(recipe, 100, 7, epoch) for epoch in range(epochs(recipe, 7))] == [0.01, 0.01]


def test_the_fast_recipe_differs_from_the_papers_in_what_it_says() -> None:
    fast, paper = load_recipe("dbc_fast"), load_recipe("dbc")
    assert difference(paper, fast) == [
        "training.batch_size: 16 is now 64",
        "training.precision: float32 is now bfloat16",
        "training.first_learning_rate: 0.1 is now 0.2",
        "training.later_learning_rate: 0.01 is now 0.02",
    ]


def test_a_round_on_few_samples_has_fewer_steps() -> None:
    recipe = Recipe(training=TrainingRecipe(batch_size=32), rounds=RoundsRecipe(count=3, steps=50, most_passes=4))
    assert plan(recipe, 10_000) == Plan(0, 3, (50, 50, 50), 50)
    assert plan(recipe, 100) == Plan(0, 3, (13, 13, 13), 13)  # 4 x 100 / 32, rounded up
    assert plan(recipe, 2).per_epoch == 1
