"""Which crops of a dataset stand for all of it."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, zip_longest

import numpy as np

from reid_toolkit.records import Crop


def spread_over_cameras(crops: Sequence[Crop], seed: int = 0) -> list[Crop]:
    """All crops in an order of which every beginning is spread evenly over the cameras, and random within each."""
    by_camera: defaultdict[str, list[Crop]] = defaultdict(list)
    for crop in crops:
        by_camera[crop.camera].append(crop)
    generator = np.random.default_rng(seed)
    shuffled = [[members[i] for i in generator.permutation(len(members))] for _, members in sorted(by_camera.items())]
    return [crop for crop in chain(*zip_longest(*shuffled)) if crop is not None]
