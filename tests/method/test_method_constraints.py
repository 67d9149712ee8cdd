"""Cannot-link pairs against a loop over all pairs of tracklets."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from reid_toolkit.errors import InputError
from reid_toolkit.method.constraints import cannot_link_pairs

TRACKLETS = st.lists(
    st.tuples(
        st.sampled_from(["door", "yard", "hall"]),
        st.integers(0, 12),
        st.integers(0, 5),
        st.booleans(),
    ),
    max_size=25,
)


@settings(max_examples=200, deadline=None)
@given(TRACKLETS)
def test_pairs_are_all_overlaps_within_a_camera(tracklets):
    camera = [name for name, *_ in tracklets]
    start = [float(begin) if known else float("nan") for _, begin, _, known in tracklets]
    end = [begin + length for (_, _, length, _), begin in zip(tracklets, start, strict=True)]
    expected = [
        [i, j]
        for i in range(len(tracklets))
        for j in range(i + 1, len(tracklets))
        if camera[i] == camera[j] and start[i] <= end[j] and start[j] <= end[i]
    ]
    pairs = cannot_link_pairs(camera, start, end)
    assert pairs.dtype == np.int64
    assert pairs.shape == (len(expected), 2)
    assert pairs.tolist() == expected


def test_a_moment_in_common_is_enough():
    assert cannot_link_pairs([1, 1, 1], [0.0, 2.0, 2.1], [2.0, 2.05, 3.0]).tolist() == [[0, 1]]


def test_no_tracklets_and_no_times_give_no_pairs():
    assert cannot_link_pairs([], [], []).shape == (0, 2)
    nothing = [float("nan")] * 3
    assert cannot_link_pairs(["a"] * 3, nothing, nothing).shape == (0, 2)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="shapes"):
        cannot_link_pairs(["a", "b"], [0.0], [1.0])
    with pytest.raises(InputError, match="tracklet 1 ends at 1"):
        cannot_link_pairs(["a", "a"], [0.0, 2.0], [1.0, 1.0])
    with pytest.raises(InputError, match="4950 pairs"):
        cannot_link_pairs(["a"] * 100, np.zeros(100), np.ones(100), max_pairs=4000)
