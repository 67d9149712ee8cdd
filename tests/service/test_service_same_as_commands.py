"""The service answers what the command line prints with --json, besides paths, and with ids and pictures added."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from drawn_site import Site
from serving import client_of, jpeg, settings_of
from starlette.testclient import TestClient

from reid_toolkit.calibration import beside
from reid_toolkit.calibration.calibration import Calibration
from reid_toolkit.calibration.curve import Curve
from reid_toolkit.cli import main
from reid_toolkit.gallery import Gallery, open_gallery
from reid_toolkit.runtime import Embedder
from reid_toolkit.service.settings import Settings

ADDED = {"id", "person", "picture", "words"}


def reid(*words: object) -> Any:
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err, pytest.raises(SystemExit) as end:
        main([*map(str, words), "--json"])
    assert end.value.code == 0, err.getvalue()
    return json.loads(out.getvalue())


def last(path: str) -> str:
    return path.rpartition("/")[2]


def without_paths(match: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in match.items() if key != "image"} | {"source": last(match["source"])}


def without_additions(match: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in match.items() if key not in ADDED}


SEARCHES = (
    {},
    {"top_k": 3},
    {"camera": "hall", "top_k": 4},
    {"camera": ["door", "hall"], "query_camera": "door"},
    {"group": "camera", "top_k": 2},
    {"group": "tracklet", "tag": "morning"},
    {"since": "1790000500", "until": "2026-12-01T00:00:00+01:00"},
    {"false_match_rate": "0.05"},
)
NAMES = {"top_k": "--top-k", "query_camera": "--query-camera", "false_match_rate": "--false-match-rate"}


def options_of(fields: dict[str, Any]) -> list[str]:
    words = []
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            words += [NAMES.get(name, f"--{name}"), str(one)]
    return words


def calibrate(gallery: Path) -> None:
    """A calibration that was drawn, so that there are probabilities."""
    model = gallery.parent / "model.onnx"
    curve = Curve(300, 2000, 5.0, -4.0, 1.2, 0.1, 1.5, (1, 2000), (0.3, 1.5))
    statistics = None
    with Gallery.open(gallery) as store:
        held = store.statistics()
        statistics = held.digest if held else None
    Calibration(Embedder(model).fingerprint, "d", 100, "neighbours", 2.0, curve, curve, {}, {}, statistics).save(
        beside(model)
    )


def compare_searches(client: TestClient, where: str, picture: Path) -> None:
    for fields in SEARCHES:
        told = reid("search", picture, "--gallery", where, *options_of(fields))
        answer = client.post("/api/v1/search", data=fields, files=[("picture", (picture.name, picture.read_bytes()))])
        assert answer.status_code == 200, (fields, answer.text)
        given = answer.json()
        assert {key: given[key] for key in told if key not in ("matches", "query")} == {
            key: value for key, value in told.items() if key not in ("matches", "query")
        }
        assert [without_additions(one) for one in given["matches"]] == [without_paths(one) for one in told["matches"]]
        assert given["query"] == told["query"] | {"images": [last(one) for one in told["query"]["images"]]}
        if given["after"]:  # a cursor of the one continues in the other
            told = reid("search", picture, "--gallery", where, *options_of(fields), "--after", given["after"])
            given = client.post(
                "/api/v1/search",
                data={**fields, "after": given["after"]},
                files=[("picture", (picture.name, picture.read_bytes()))],
            ).json()
            assert [one["tracklet"] for one in given["matches"]] == [one["tracklet"] for one in told["matches"]]
            assert given["after"] == told["after"]


def test_searches(gallery: Path, local: TestClient, tmp_path: Path) -> None:
    picture = tmp_path / "someone.jpg"
    picture.write_bytes(jpeg("green", 0.9))
    calibrate(gallery)
    compare_searches(local, str(gallery), picture)
    words = local.post("/api/v1/search", files=[("picture", ("a.jpg", jpeg()))]).json()["matches"]
    assert {one["words"] for one in words} <= {"likely", "uncertain", "unknown"}


def test_people(gallery: Path, local: TestClient) -> None:
    for path, words in (
        ("/people?limit=1000", ["list"]),
        ("/people/Ana", ["show", "Ana"]),
        ("/people/person-000001", ["show", "person-000001"]),
        ("/people/count", ["count"]),
        ("/people/count?by=day,camera", ["count", "--by", "day,camera"]),
        ("/people/routes", ["routes"]),
        ("/people/corrections", ["corrections"]),
    ):
        command, *rest = words
        told = reid("people", command, gallery, *rest)
        given = local.get(f"/api/v1{path}").json()
        for row in given.get("people", ()):
            assert row.pop("picture").startswith("/api/v1/records/")
        for visit in given.get("visits", ()):
            assert [one["tracklet"] for one in visit.pop("records")] == visit["tracklets"]
        given.pop("after", None)
        assert given == told | {"gallery": "gallery"}, path


def test_cameras(gallery: Path, local: TestClient) -> None:
    assert local.get("/api/v1/cameras").json() == reid("gallery", "cameras", gallery) | {"gallery": "gallery"}


def test_corrections_and_grouping(tmp_path: Path) -> None:
    """The same changes by the service and by the commands, on two copies of a gallery."""
    pytest.importorskip("torch")
    site, galleries = Site(5), [tmp_path / "one", tmp_path / "two"]
    for where in galleries:
        with Gallery.open(where, model="m1") as store:
            site.enroll(store)
    one, two = galleries
    mine = [tracklet for tracklet, person in site.truth.items() if person == 0]
    with client_of(settings_of(one)) as client:
        assert client.get("/api/v1/people").status_code == 409
        assert client.post("/api/v1/people/group").json() == reid("people", "group", two) | {"gallery": "one"}
        questions = client.get("/api/v1/people/review?limit=3").json()["questions"]
        told = reid("people", "review", two, "--top-k", 3)["questions"]
        assert [[q["first"]["id"], q["second"]["id"]] for q in questions] == [q["ids"] for q in told]
        assert [[q["first"]["name"], q["now"], q["cost"], q["records"]] for q in questions] == [
            [q["first"], q["now"], q["cost"], q["records"]] for q in told
        ]
        done = client.post("/api/v1/people/not", json={"first": "person-000001", "second": mine[1]}).json()
        assert (done["correction"], done["grouped"]) == ("c-1", True)
        with redirect_stdout(io.StringIO()), pytest.raises(SystemExit) as end:
            main(["people", "not", str(two), "person-000001", mine[1]])
        assert end.value.code == 0
        alike(client, two)
        assert client.delete("/api/v1/people/corrections/c-1").json() == {"undone": "c-1"}
        with redirect_stdout(io.StringIO()), pytest.raises(SystemExit):
            main(["people", "undo", str(two), "c-1"])
        alike(client, two)
        assert client.delete("/api/v1/people/corrections/c-1").status_code == 404


def alike(client: TestClient, gallery: Path) -> None:
    given = client.get("/api/v1/people").json()["people"]
    for row in given:
        del row["picture"]
    assert given == reid("people", "list", gallery)["people"]
    named = [
        (row["kind"], row["first"], row["second"]) for row in reid("people", "corrections", gallery)["corrections"]
    ]
    rows = client.get("/api/v1/people/corrections").json()["corrections"]
    assert [(row["kind"], row["first"], row["second"]) for row in rows] == named


def test_a_gallery_in_milvus_answers_alike_and_says_what_it_lacks(gallery: Path, tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite")
    where = f"milvus-lite://{tmp_path}/lite.db/people"
    model = gallery.parent / "model.onnx"
    with open_gallery(gallery) as source, open_gallery(where, model=Embedder(model).fingerprint) as target:
        for records, vectors in source.records():
            target.add(vectors, records)
        target.remember_model_file(model)
    picture = tmp_path / "someone.jpg"
    picture.write_bytes(jpeg("green", 0.9))
    calibrate(gallery)
    with client_of(Settings(gallery=where)) as client:
        compare_searches(client, where, picture)
        about = client.get("/api/v1/gallery").json()
        assert (about["records"], about["people"]) == (12, 0)
        assert client.get("/api/v1/search/filters?camera=door").json() == {"records": 6, "by_camera": {"door": 6}}
        match = client.post("/api/v1/search", files=[("picture", ("a.jpg", jpeg()))]).json()["matches"][0]
        assert client.get(match["picture"]).headers["content-type"] == "image/jpeg"
        assert client.get("/api/v1/people").json()["error"]["code"] == "not_grouped"
