"""Camera statistics: what they are by definition, what they never do, and what they refuse."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reid_toolkit.camera_statistics import (
    LEAST,
    CameraStatistics,
    StatisticsFit,
    fit_camera_statistics,
    loads,
    people_shown,
    variance_ratio,
)
from reid_toolkit.errors import InputError
from reid_toolkit.evaluation.ranking import rank

D = 32
NESTED = b"[" * 100_000


def unit(rows: NDArray) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def site(
    people: int = 40, cameras: str = "abc", visits: int = 1, bias: float = 1.0, noise: float = 0.2, seed: int = 0
) -> tuple[NDArray[np.float32], list[str], NDArray[np.int64]]:
    """Descriptors of people whom all cameras see, each with a bias of its own; their cameras, and who they are."""
    rng = np.random.default_rng(seed)
    who = np.tile(np.repeat(np.arange(people), visits), len(cameras))
    camera = np.repeat(np.arange(len(cameras)), people * visits)
    means = bias * rng.standard_normal((len(cameras), D))
    rows = rng.standard_normal((people, D))[who] + means[camera] + noise * rng.standard_normal((len(who), D))
    return unit(rows), [cameras[i] for i in camera], who


def mean_ap(rows: NDArray[np.float32], who: NDArray[np.int64], cameras: list[str]) -> float:
    """Over all cameras, as a search finds people."""
    return rank(np.sqrt(np.maximum(2 - 2 * rows @ rows.T, 0)), who + 1, who + 1, cameras, cameras).mean_ap


def slow_fit(rows: NDArray, cameras: list[str], tracklets: list) -> dict[str, tuple[NDArray, NDArray, float]]:
    """The definition, camera by camera and tracklet by tracklet, of cameras with many people: mean, scale, weight."""
    own, spread, count = {}, {}, {}
    for camera in sorted(set(cameras)):
        names = sorted({t for c, t in zip(cameras, tracklets, strict=True) if c == camera})
        groups = [
            rows[[c == camera and t == name for c, t in zip(cameras, tracklets, strict=True)]].astype(float)
            for name in names
        ]
        own[camera] = np.mean([group.mean(axis=0) for group in groups], axis=0)
        spread[camera] = np.mean([((group - own[camera]) ** 2).mean(axis=0) for group in groups], axis=0)
        count[camera] = len(names)
    total, groups_count = sum(count.values()), len(count)
    within = sum(count[c] * spread[c].sum() for c in count) / (total - groups_count)
    centre = sum(count[c] * own[c] for c in count) / total
    between = sum(count[c] * ((own[c] - centre) ** 2).sum() for c in count)
    tau = (between - within * (groups_count - 1)) / (total - sum(n**2 for n in count.values()) / total)
    weight = {c: (n - 3) / (n - 3 + within / tau) for c, n in count.items()}
    mean = sum(weight[c] * own[c] for c in count) / sum(weight.values())
    share = {c: (n - 3) / (n - 3 + 10) for c, n in count.items()}
    common = sum(share[c] * spread[c] for c in count) / sum(share.values())
    return {
        c: (
            weight[c] * own[c] + (1 - weight[c]) * mean,
            np.sqrt(common / (share[c] * spread[c] + (1 - share[c]) * common)),
            weight[c],
        )
        for c in count
    }


def test_it_is_the_slow_definition() -> None:
    rows, cameras, who = site(people=30, visits=2, seed=3)
    keep = np.r_[0:50, 60:115, 120:170]  # cameras of unequal size, tracklets of one crop and of two
    rows, cameras, names = rows[keep], [cameras[i] for i in keep], [str(who[i]) for i in keep]
    found = fit_camera_statistics(rows, cameras, names)
    assert found is not None
    expected = slow_fit(rows, cameras, names)
    for place, one in enumerate(found.cameras):
        mean, scale, weight = expected[one.camera]
        np.testing.assert_allclose(found.means[place], mean, atol=1e-6)
        np.testing.assert_allclose(found.scales[place], scale, rtol=1e-5)
        assert one.weight == pytest.approx(weight, abs=1e-6)
        assert one.records == cameras.count(one.camera)
        assert one.tracklets == len({n for n, c in zip(names, cameras, strict=True) if c == one.camera})


def test_applying_is_centring_scaling_and_normalising() -> None:
    rows, cameras, _ = site()
    statistics = fit_camera_statistics(rows, cameras)
    assert statistics is not None
    freed = statistics.apply(rows, cameras)
    assert (freed.dtype, freed.shape) == (np.float32, rows.shape)
    np.testing.assert_allclose(np.linalg.norm(freed, axis=1), 1, atol=1e-6)
    for row, camera, got in zip(rows, cameras, freed, strict=True):
        place = "abc".index(camera)
        by_hand = (row.astype(float) - statistics.means[place]) * statistics.scales[place]
        np.testing.assert_allclose(got, by_hand / np.linalg.norm(by_hand), atol=1e-6)
    for unknown in (None, "", "roof"):
        by_hand = rows[0].astype(float) - statistics.mean
        got = statistics.apply(rows[:1], [unknown])[0]
        np.testing.assert_allclose(got, by_hand / np.linalg.norm(by_hand), atol=1e-6)


def test_cameras_may_be_numbers() -> None:
    rows, cameras, _ = site()
    numbers = np.array(["abc".index(camera) for camera in cameras])
    by_name, by_number = fit_camera_statistics(rows, cameras), fit_camera_statistics(rows, numbers.tolist())
    assert by_name is not None
    assert by_number is not None
    assert [one.camera for one in by_number.cameras] == ["0", "1", "2"]
    np.testing.assert_array_equal(by_number.apply(rows, numbers.tolist()), by_name.apply(rows, cameras))
    np.testing.assert_array_equal(by_number.apply(rows, list(numbers)), by_name.apply(rows, cameras))
    assert loads(by_number.dumps()).knows("0")


def test_bias_goes_and_people_stay() -> None:
    rows, cameras, who = site(bias=1.5)
    statistics = fit_camera_statistics(rows, cameras)
    assert statistics is not None
    assert mean_ap(rows, who, cameras) < 0.3
    assert mean_ap(statistics.apply(rows, cameras), who, cameras) > 0.95


def test_cameras_without_a_difference_keep_their_order() -> None:
    rows, cameras, who = site(bias=0, people=100)
    statistics = fit_camera_statistics(rows, cameras)
    assert statistics is not None
    assert all(one.weight < 0.2 for one in statistics.cameras)
    before, after = mean_ap(rows, who, cameras), mean_ap(statistics.apply(rows, cameras), who, cameras)
    assert after > before - 0.005


def test_means_of_equal_cameras_are_one_mean() -> None:
    """No difference at all: the ratio of variances is infinite, and nobody's own mean is used."""
    rows, _, _ = site(cameras="a", people=30)
    statistics = fit_camera_statistics(np.concatenate([rows, rows]), ["a"] * 30 + ["b"] * 30)
    assert statistics is not None
    assert [one.weight for one in statistics.cameras] == [0, 0]
    np.testing.assert_array_equal(statistics.means[0], statistics.means[1])
    np.testing.assert_allclose(statistics.scales, 1, rtol=1e-6)


def test_few_tracklets_are_no_statistics() -> None:
    rows, cameras, _ = site(people=LEAST - 1)
    assert fit_camera_statistics(rows, cameras) is None
    rows, cameras, _ = site(people=LEAST)
    assert fit_camera_statistics(rows, cameras) is not None
    assert fit_camera_statistics(rows, ["a"] * len(rows)) is None  # one camera
    assert fit_camera_statistics(rows, [str(i) for i in range(len(rows))]) is None  # each a camera of its own
    assert fit_camera_statistics(rows, [None] * len(rows)) is None
    assert fit_camera_statistics(rows, [""] * len(rows)) is None
    assert fit_camera_statistics(np.empty((0, D), np.float32), []) is None
    # Crops repeat one person: thirty of each are still few tracklets.
    crops = np.repeat(site(people=3)[0], 30, axis=0)
    assert fit_camera_statistics(crops, list("abc" * 90), list(range(9)) * 30) is None


def test_many_cameras_of_one_tracklet_each_are_told_at_once() -> None:
    """Without a matrix of all cameras, which would take gigabytes, and be copied for each of them."""
    rows = unit(np.random.default_rng(0).standard_normal((20_000, 4)))
    assert fit_camera_statistics(rows, [str(i) for i in range(len(rows))]) is None


def test_cameras_that_show_one_picture_each_give_numbers_all_the_same() -> None:
    """A frozen camera: nothing varies within cameras, and a third one has shown too few people to count."""
    rows, _, _ = site(cameras="abc", people=1)
    frozen = np.repeat(rows, [12, 12, 2], axis=0)
    statistics = fit_camera_statistics(frozen, list("a" * 12 + "b" * 12 + "cc"))
    assert statistics is not None
    assert loads(statistics.dumps()).digest == statistics.digest
    assert np.isfinite(statistics.apply(frozen, list("a" * 12 + "b" * 12 + "cc"))).all()


def test_a_component_that_was_constant_is_not_stretched_beyond_bounds() -> None:
    rows, cameras, _ = site(people=3000)
    rows[np.array(cameras) == "a", 3] = 0
    statistics = fit_camera_statistics(unit(rows), cameras)
    assert statistics is not None
    assert statistics.scales.max() == statistics.scales[0, 3] == 3
    assert statistics.scales.min() >= 1 / 3


def with_third_camera(people: int, visits: int, seed: int = 0) -> tuple[NDArray, list[str], NDArray]:
    """Two cameras that see 60 people, and camera c that sees the first few of them so many times, as tracklets."""
    rows, cameras, who = site(people=60, visits=visits, bias=0.8, noise=0.6, seed=seed)
    keep = np.flatnonzero((np.array(cameras) != "c") | (who < people))
    keep = keep[(np.array(cameras)[keep] == "c") | (np.arange(len(keep)) % visits == 0)]
    return rows[keep], [cameras[i] for i in keep], who[keep]


@pytest.mark.parametrize(("people", "visits"), [(1, 1), (1, 5), (1, 100), (2, 1), (5, 1)])
def test_the_appearance_of_a_few_people_is_not_subtracted(people: int, visits: int) -> None:
    before, after = [], []
    for seed in range(4):
        rows, cameras, who = with_third_camera(people, visits, seed)
        statistics = fit_camera_statistics(rows, cameras)
        assert statistics is not None
        few = np.flatnonzero(np.array(cameras) == "c")
        assert len(few) == people * visits
        assert statistics.cameras[2].people < 6
        if people < 3:
            assert statistics.cameras[2].weight < 0.1
            if visits == 1:
                np.testing.assert_array_equal(statistics.means[2], statistics.mean)
        freed = statistics.apply(rows, cameras)
        for found, into in ((rows, before), (freed, after)):
            distances = np.sqrt(np.maximum(2 - 2 * found[few] @ found.T, 0))
            into.append(rank(distances, who[few] + 1, who + 1, ["c"] * len(few), cameras).mean_ap)
        assert mean_ap(freed, who, cameras) > mean_ap(rows, who, cameras)
    assert np.mean(after) >= np.mean(before)


def test_people_are_counted_by_how_widely_they_are_spread() -> None:
    assert people_shown(np.array([50.0, 50, 50]), np.array([0.8, 0.7, 0.9])).tolist() == [50, 50, 50]
    one, some, many = people_shown(np.full(4, 100.0), np.array([0.05, 0.15, 0.8, 0.8]))[:3]
    assert 1 < one < 1.3 < some < 3
    assert many == 100
    assert people_shown(np.array([1.0, 30]), np.array([0.0, 0.8])).tolist() == [1, 30]
    assert people_shown(np.array([30.0]), np.array([0.8])).tolist() == [30]


def test_the_ratio_of_variances_is_found_again() -> None:
    """Means of known variance with known noise around them: the estimate is unbiased, so many of them agree."""
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        counts = rng.integers(10, 60, size=6)
        bias = 0.5 * rng.standard_normal((6, 20))
        rows = [bias[i] + 2 * rng.standard_normal((n, 20)) for i, n in enumerate(counts)]
        scatter = np.array([part.var(axis=0).sum() for part in rows])
        found.append(variance_ratio(counts.astype(float), np.array([part.mean(axis=0) for part in rows]), scatter))
    assert np.median(found) == pytest.approx(4 / 0.25, rel=0.1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 60))
def test_a_row_does_not_depend_on_the_others(seed: int, count: int, width: int) -> None:
    """To the last bit: a gallery applies them row by row, or thousands at once, and cursors compare distances."""
    rng = np.random.default_rng(seed)
    rows = unit(rng.standard_normal((count, width)) + 0.1)
    cameras = [[None, "a", "b", "?"][i] for i in rng.integers(0, 4, count)]
    statistics = fit_camera_statistics(unit(rng.standard_normal((40, width)) + 0.1), ["a", "b"] * 20)
    if statistics is None:  # a width of 1 spreads nothing
        return
    together = statistics.apply(rows, cameras)
    alone = np.concatenate([statistics.apply(rows[i : i + 1], cameras[i : i + 1]) for i in range(count)])
    np.testing.assert_array_equal(together, alone)
    assert np.isfinite(together).all()
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_parts_and_their_order_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, cameras, who = site(seed=seed % 1000)
    whole = fit_camera_statistics(rows, cameras, who.tolist())
    order = rng.permutation(len(rows))
    fit = StatisticsFit(D)
    for part in np.array_split(order, rng.integers(1, 7)):
        fit.add(rows[part], [cameras[i] for i in part], np.ones(len(part)))
    found = fit.finish()
    assert whole is not None
    assert found is not None
    for name in ("means", "scales", "mean"):
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-5, atol=1e-6)
    assert [one.camera for one in found.cameras] == ["a", "b", "c"]


def test_a_descriptor_at_the_mean_stays_what_it_is() -> None:
    rows, cameras, _ = site()
    statistics = fit_camera_statistics(rows, cameras)
    assert statistics is not None
    middle = replace(statistics, mean=rows[0])
    np.testing.assert_array_equal(middle.apply(rows[:1], [None]), rows[:1])


def test_dead_components_keep_their_scale() -> None:
    rows, cameras, _ = site()
    rows[:, 3] = 0
    rows = unit(rows)
    statistics = fit_camera_statistics(rows, cameras)
    assert statistics is not None
    assert statistics.scales[:, 3].tolist() == [1, 1, 1]
    assert (statistics.apply(rows, cameras)[:, 3] == 0).all()


def test_bytes_hold_all_of_it() -> None:
    rows, cameras, _ = site()
    statistics = fit_camera_statistics(rows, cameras, model="f00", fitted=12.5)
    assert statistics is not None
    statistics = statistics.of_version(7)
    again = loads(statistics.dumps(), "f00", D)
    assert (again.cameras, again.model, again.fitted, again.version) == (statistics.cameras, "f00", 12.5, 7)
    assert again.digest == statistics.digest == statistics.of_version(8).digest
    np.testing.assert_array_equal(again.apply(rows, cameras), statistics.apply(rows, cameras))
    assert replace(statistics, scales=2 * statistics.scales).digest != statistics.digest
    assert statistics.knows("a")
    assert not statistics.knows(None)


def test_damage_and_what_is_of_others_is_refused() -> None:
    rows, cameras, _ = site()
    statistics = fit_camera_statistics(rows, cameras, model="f00")
    assert statistics is not None
    content = statistics.dumps()
    for at in range(0, len(content), 97):
        broken = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        with pytest.raises(InputError, match="camera statistics are damaged"):
            loads(broken)
    nested = len(NESTED).to_bytes(8, "little") + NESTED
    for broken in (b"", content[:-1], content[:40], hashlib.sha256(nested).digest() + nested):
        with pytest.raises(InputError, match="camera statistics are damaged"):
            loads(broken)
    with pytest.raises(InputError, match="of model f00, expected model f01"):
        loads(content, "f01")
    with pytest.raises(InputError, match=f"of width {D}, expected width 8"):
        loads(content, None, 8)
    for wrong in (np.nan, np.inf, 0, -1):
        scales = statistics.scales.copy()
        scales[1, 2] = wrong
        with pytest.raises(InputError, match="NaN, infinity, or a scale"):
            loads(replace(statistics, scales=scales).dumps())


def test_wrong_shapes_and_numbers_are_refused() -> None:
    rows, cameras, _ = site()
    statistics = fit_camera_statistics(rows, cameras)
    assert isinstance(statistics, CameraStatistics)
    for wrong, of in ((rows[:, :5], cameras), (rows[0], cameras[:1]), (rows, cameras[:-1])):
        with pytest.raises(InputError, match=f"expected \\(N, {D}\\)"):
            statistics.apply(wrong, of)
    for bad in (np.nan, np.inf):
        broken = rows.copy()
        broken[3, 3] = bad
        with pytest.raises(InputError, match="NaN or infinity"):
            fit_camera_statistics(broken, cameras)
    with pytest.raises(InputError, match="one camera each"):
        fit_camera_statistics(rows, cameras[:-1])
    with pytest.raises(InputError, match="expected one of each"):
        fit_camera_statistics(rows, cameras, ["t"])
    with pytest.raises(InputError, match="got shape"):
        fit_camera_statistics(rows[0], cameras)
    with pytest.raises(InputError, match="weights"):
        StatisticsFit(D).add(rows, cameras, np.ones(3))


def test_it_needs_numpy_alone() -> None:
    code = (
        "import sys, reid_toolkit.camera_statistics\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'cv2', 'scipy', 'onnxruntime'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
