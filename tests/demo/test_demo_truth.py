from pathlib import Path

import pytest

from reid_toolkit.datasets.dataset import Dataset
from reid_toolkit.datasets.manifest import read_identities
from reid_toolkit.demo.truth import Box, label_tracklets, overlap, read_truth, write_identities, write_truth
from reid_toolkit.errors import InputError
from reid_toolkit.records import Crop, Tracklet

TRUTH = [
    *(Box("north", frame, "1", 10 * frame, 20, 40, 100, 1.0) for frame in range(10)),
    *(Box("north", frame, "2", 200, 20, 40, 100, 0.8) for frame in range(10)),
    *(Box("gate", frame, "2", 10 * frame, 20, 40, 100, 1.0) for frame in range(10)),
]


def dataset(**tracklets):
    """Tracklets by name: (camera, [(frame, x, y, width, height), ...])."""
    return Dataset(
        Path("/nowhere"),
        "manifest",
        tuple(
            Tracklet(
                name,
                camera,
                tuple(
                    Crop(Path(f"/nowhere/{name}-{frame}.jpg"), camera, name, frame, None, *box) for frame, *box in crops
                ),
            )
            for name, (camera, crops) in tracklets.items()
        ),
    )


def label(camera, *crops):
    return label_tracklets(dataset(t=(camera, crops)), TRUTH)["t"]


def test_a_tracklet_is_the_person_its_crops_show_in_its_camera():
    crops = [(frame, 10 * frame + 3, 24, 38, 96) for frame in range(10)]
    made = dataset(a=("north", crops), b=("gate", crops), c=("hall", crops))
    assert label_tracklets(made, TRUTH) == {"a": "1", "b": "2", "c": "-1"}


def test_a_tracklet_without_a_clear_majority_is_junk():
    first = [(frame, 10 * frame, 20, 40, 100) for frame in range(10)]
    second = [(frame, 200, 20, 40, 100) for frame in range(10)]
    assert label("north", *first[:6], *second[6:]) == "1"
    assert label("north", *first[:5], *second[5:]) == "-1"


def test_crops_that_show_nobody_count_against_the_majority():
    assert label("north", (0, 0, 20, 40, 100), (1, 120, 20, 40, 100), (2, 120, 20, 40, 100)) == "-1"


def test_a_crop_must_overlap_by_half():
    assert label("north", (0, 0, 20, 40, 51)) == "1"
    assert label("north", (0, 0, 20, 40, 49)) == "-1"


def test_the_person_behind_another_is_not_who_is_shown():
    boxes = [Box("north", 0, "front", 4, 20, 40, 100, 1.0), Box("north", 0, "behind", 0, 20, 40, 100, 0.1)]
    assert label_tracklets(dataset(t=("north", [(0, 0, 20, 40, 100)])), boxes) == {"t": "front"}


def test_overlap_of_touching_and_equal_boxes():
    a, b = TRUTH[0], Box("north", 0, "x", 40, 20, 40, 100, 1.0)
    assert overlap(a, b) == 0
    assert overlap(a, a) == 1


def test_truth_and_identities_come_back_as_written(tmp_path):
    write_truth(tmp_path / "truth.csv", TRUTH)
    assert read_truth(tmp_path / "truth.csv") == TRUTH
    write_identities(tmp_path / "identities.csv", {"b": "-1", "a": "12"})
    assert read_identities(tmp_path / "identities.csv") == {"a": "12", "b": "-1"}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "tracklet,identity\na,1\n",
        "camera,frame,person,x,y,width,height,visible\nnorth,one,1,0,0,1,1,1\n",
        "camera,frame,person,x,y,width,height,visible\nnorth,1\n",
    ],
)
def test_another_file_is_not_taken_for_truth(tmp_path, content):
    (tmp_path / "truth.csv").write_text(content)
    with pytest.raises(InputError, match=r"truth\.csv: not the truth of drawn footage"):
        read_truth(tmp_path / "truth.csv")


def test_missing_truth_is_named(tmp_path):
    with pytest.raises(InputError, match=r"truth\.csv: no such file"):
        read_truth(tmp_path / "truth.csv")
