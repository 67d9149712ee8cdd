import pytest
from small_backbone import SMALL

from reid_toolkit.config import MergingRecipe, NetworkRecipe, Recipe, TrainingRecipe


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """Three stages of two steps each on the 12 tracklets of ``tiny_dataset``: 12, 9 and 6 clusters."""
    return Recipe(
        selection="self_retrieval",
        network=NetworkRecipe(SMALL, weights="none", embedding=16, dropout=0.2, height=32, width=32),
        training=TrainingRecipe(
            frames=2, batch_size=6, first_epochs=1, later_epochs=1, first_learning_rate=0.02, backbone_factor=1.0,
            colour_jitter=0.2,
        ),
        merging=MergingRecipe(fraction=0.25),
    )  # fmt: skip
