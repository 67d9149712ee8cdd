"""Descriptors on a plane, so that groups can be seen."""

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import InputError, MissingDependencyError


def lay_out(descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Places (N, 2) of descriptors (N, D) by t-SNE, the same each time.

    It keeps neighbours: distances between far groups, and how large a group looks, say nothing.

    Raises :class:`MissingDependencyError` without scikit-learn, :class:`InputError` for fewer than three.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise MissingDependencyError(
            "t-SNE needs scikit-learn, which is not installed: in reid's checkout, pip install '.[plots]'",
            name="sklearn",
        ) from error
    if len(descriptors) < 3:
        raise InputError(f"{len(descriptors)} samples: expected at least 3 to lay out")
    near = min(30.0, (len(descriptors) - 1) / 3)
    places: NDArray[np.float32] = TSNE(perplexity=near, init="pca", random_state=0).fit_transform(descriptors)
    return places
