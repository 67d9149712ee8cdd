"""The library behind reid enroll and reid search: silent, progress by callback, and the answers of the commands."""

import json
from pathlib import Path

import numpy as np
import pytest
from three_people import COLOURS

from reid_toolkit.cli import main
from reid_toolkit.errors import GalleryError, InputError
from reid_toolkit.gallery import Filter, open_gallery
from reid_toolkit.gallery.types import Selection
from reid_toolkit.runtime import Embedder
from reid_toolkit.search import Query, Search, enroll, units_of


@pytest.fixture
def gallery(model: Path, dataset: Path, tmp_path: Path) -> Path:
    embedder = Embedder(model)
    with open_gallery(str(tmp_path / "g"), embedder.dimension, embedder.fingerprint) as store:
        enroll(store, embedder, list(units_of(dataset)))
    return tmp_path / "g"


def test_enrolling_says_how_far_it_is_and_prints_nothing(
    model: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    embedder, steps = Embedder(model), []
    with open_gallery(str(tmp_path / "g"), embedder.dimension, embedder.fingerprint) as store:
        done = enroll(store, embedder, list(units_of(dataset)), on_progress=lambda *step: steps.append(step))
        again = enroll(store, embedder, list(units_of(dataset)))
    assert (done.enrolled, done.already, done.count) == (6, 0, 6)
    assert (again.enrolled, again.already, again.count) == (0, 6, 6)
    assert [step for step in steps if step[0] == "enroll"][-1] == ("enroll", 6, 6)
    assert capsys.readouterr() == ("", "")


def test_who_is_forgotten_meanwhile_is_not_stored_by_a_later_batch(model: Path, dataset: Path, tmp_path: Path) -> None:
    embedder = Embedder(model, batch_size=3)  # the crops of one tracklet
    units = list(units_of(dataset))
    source = units[0].record.source

    def forget(step: str, done: int, total: int | None) -> None:
        if step == "enroll" and not other.block_list.digests():
            assert done == 1
            other.block_list.add(other.keys(Selection(source=source)), [source])
            assert other.forget(source=source) == 1

    with open_gallery(str(tmp_path / "g"), embedder.dimension, embedder.fingerprint) as store:
        with open_gallery(str(tmp_path / "g")) as other:
            done = enroll(store, embedder, units, on_progress=forget)
        assert (done.enrolled, done.blocked, done.count) == (1, 5, 0)
        assert enroll(store, embedder, units, allow=True).enrolled == 6


def test_tags_and_single_crops_become_records(model: Path, dataset: Path, tmp_path: Path) -> None:
    embedder = Embedder(model)
    with open_gallery(str(tmp_path / "g"), embedder.dimension, embedder.fingerprint) as store:
        assert enroll(store, embedder, list(units_of(dataset, each_crop=True, tags=("visitor",)))).enrolled == 18
        assert store.info().tags == {"visitor": 18}


def test_a_search_answers_as_the_command_does(
    gallery: Path, model: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_gallery(str(gallery), create=False) as store:
        result = Search(store, str(gallery), model).find(Query.of(dataset, "door-red"), top_k=3)
    assert capsys.readouterr() == ("", "")
    with pytest.raises(SystemExit):
        main([
            "search", str(dataset), "--tracklet", "door-red", "--gallery", str(gallery), "--model", str(model),
            "--top-k", "3", "--json",
        ])  # fmt: skip
    told = json.loads(capsys.readouterr().out)["matches"]
    assert [answer.match.record.tracklet for answer in result.answers] == [match["tracklet"] for match in told]
    np.testing.assert_allclose(
        [answer.match.distance for answer in result.answers], [match["distance"] for match in told], atol=1e-6
    )
    assert result.answers[0].match.record.tracklet == "hall-red"
    assert result.camera == "door"


def test_filters_and_identities_are_arguments(gallery: Path, model: Path, dataset: Path) -> None:
    truth = {f"{camera}-{colour}": colour for camera in ("door", "hall") for colour in COLOURS}
    with open_gallery(str(gallery), create=False) as store:
        search = Search(store, "here", model)
        result = search.find(Query.of(dataset, "door-red"), among=Filter(cameras=["hall"]), truth=truth)
    assert [answer.match.record.camera for answer in result.answers] == ["hall"] * 3
    assert [answer.right for answer in result.answers] == [True, False, False]


def test_what_is_not_there_is_named(gallery: Path, model: Path, dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no tracklet 'door-rde' \(did you mean 'door-red'\?\)"):
        Query.of(dataset, "door-rde")
    with open_gallery(str(gallery), create=False) as store:
        with pytest.raises(GalleryError, match="here: the gallery does not know the file of its model"):
            Search(store, "here").find(Query.of(dataset, "door-red"))
        with pytest.raises(InputError, match="here"):
            Search(store, "here", model).check_names(["dor"])
