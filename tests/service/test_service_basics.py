"""What the service answers, and to whom."""

import json
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from serving import bearer, client_of, jpeg, make_gallery, running, settings_of
from starlette.testclient import TestClient
from three_people import EPOCH

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.types import Selection
from reid_toolkit.people.book import Book
from reid_toolkit.records import Record
from reid_toolkit.service.desk import Desk

PEOPLE = [f"/api/v1/people/{name}" for name in ("count", "count?by=day", "count?by=camera,day", "routes")]


def test_without_tokens_everybody_on_this_machine_is_admin(local: TestClient) -> None:
    about = local.get("/api/v1/whoami").json()
    assert (about["name"], about["role"]) == ("local", "admin")


def test_tokens_have_roles(guarded: TestClient, tokens: dict[str, str]) -> None:
    assert guarded.get("/api/v1/whoami").status_code == 401
    for role, token in tokens.items():
        assert guarded.get("/api/v1/whoami", headers=bearer(token)).json()["role"] == role


def test_what_the_gallery_holds(local: TestClient) -> None:
    document = local.get("/api/v1/gallery").json()
    assert (document["records"], document["people"], document["waiting"]) == (12, 3, 0)
    assert [one["name"] for one in document["cameras"]] == ["door", "hall"]
    assert document["tags"] == ["morning"]


def test_search_and_look_at_a_match(local: TestClient) -> None:
    answer = local.post("/api/v1/search", files=[("picture", ("red.jpg", jpeg()))], data={"top_k": "3"})
    assert answer.status_code == 200, answer.text
    first = answer.json()["matches"][0]
    assert (first["tracklet"], first["person"]) == ("door-red-1", "person-000001")
    picture = local.get(first["picture"])
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")
    record = local.get(f"/api/v1/records/{first['id']}").json()
    assert (record["tracklet"], record["person"], record["source"]) == ("door-red-1", "person-000001", "site")


def test_people(local: TestClient) -> None:
    everybody = local.get("/api/v1/people").json()["people"]
    assert [one["name"] for one in everybody] == ["person-000001", "person-000002", "Ana"]
    shown = local.get("/api/v1/people/Ana").json()
    assert [(one["camera"], one["tracklets"]) for one in shown["visits"]][:2] == [
        ("door", ["door-blue-0"]),
        ("hall", ["hall-blue-0"]),
    ]
    assert local.get("/api/v1/people/nobody").status_code == 404


def test_a_person_who_has_a_name_is_found_by_number_too(local: TestClient) -> None:
    for words in ("an", "000003", "PERSON-000003"):
        assert "Ana" in [one["name"] for one in local.get("/api/v1/people", params={"q": words}).json()["people"]]
    assert local.get("/api/v1/people?q=000009").json()["people"] == []


def test_a_camera_without_a_name_can_be_chosen(tmp_path: Path) -> None:
    with client_of(settings_of(make_gallery(tmp_path, cameras=("", "hall")))) as client:
        assert client.get("/api/v1/search/filters").json()["records"] == 12
        assert client.get("/api/v1/search/filters?camera=").json() == {"records": 6, "by_camera": {"": 6}}
        assert client.get("/api/v1/search/filters?camera=&camera=hall").json()["records"] == 12
        files = [("picture", ("red.jpg", jpeg()))]
        found = client.post("/api/v1/search", files=files, data={"camera": "", "top_k": "9"}).json()["matches"]
        assert {one["camera"] for one in found} == {""}


def test_sign_in_with_a_session(guarded: TestClient, tokens: dict[str, str]) -> None:
    answer = guarded.post("/login", data={"token": tokens["review"], "next": "/people?q=a"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/people?q=a")
    about = guarded.get("/api/v1/whoami").json()
    assert (about["name"], about["role"]) == ("rita", "review")
    query = {"record": guarded.get("/api/v1/people/Ana").json()["visits"][0]["records"][0]["id"]}
    assert guarded.post("/api/v1/search", data=query).status_code == 403
    assert guarded.post("/api/v1/search", data=query, headers={"X-Reid-CSRF": about["csrf"]}).status_code == 200
    assert guarded.post("/logout").status_code == 403
    assert guarded.post("/logout", headers={"X-Reid-CSRF": about["csrf"]}).status_code == 303
    assert guarded.get("/api/v1/whoami").status_code == 401


def test_changes_by_other_processes_show(local: TestClient, gallery: Path) -> None:
    shown = local.get("/api/v1/people/Ana").json()["visits"]
    gone, kept = shown[0]["records"][0]["id"], shown[1]["records"][0]["id"]
    with Gallery.open(gallery) as other:
        record = other.held([gone])[gone].record
        other.delete_records([record])
        other.add(np.eye(1, 96, dtype=np.float32), [Record("new-1", "door", 5.0, 6.0, "elsewhere")])
    after = local.get("/api/v1/people/Ana").json()["visits"]
    assert gone not in [one["id"] for visit in after for one in visit["records"]]
    assert local.get(f"/api/v1/records/{gone}").status_code == 404
    pair = {"first": gone, "second": kept}
    assert local.post("/api/v1/people/not", json=pair).status_code == 404
    done = local.post("/api/v1/people/same", json={"first": "new-1", "second": "Ana"})
    assert (done.status_code, done.json()["kind"]) == (200, "same"), done.text
    with Gallery.open(gallery) as other:
        assert len(other.people.read().corrections) == 1


def test_times_of_recordings_do_not_count_beside_dates(tmp_path: Path) -> None:
    gallery = make_gallery(tmp_path)
    with Gallery.open(gallery) as store:
        people, (one,) = store.people.read(), store.listed(Selection(tracklet="door-red-0"))
        new = Record("undated", "door", 5.0, 6.0, "elsewhere")
        store.add(np.eye(1, 96, dtype=np.float32), [new])
        store.people.write(people, members={key_digest(new): people.members[key_digest(one)]})
    with client_of(settings_of(gallery)) as client:
        (door, _) = client.get("/api/v1/gallery").json()["cameras"]
        assert (door["first"], door["last"]) == (EPOCH, EPOCH + 1020)
        person = client.get("/api/v1/people/person-000001").json()
        assert (person["start"], person["end"], person["records"]) == (EPOCH, EPOCH + 1100, 5)


def test_counts_and_routes_are_computed_once(local: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first = {path: local.get(path).json() for path in PEOPLE}
    assert len({json.dumps(answer) for answer in first.values()}) == len(PEOPLE)
    for name in ("count_people", "routes_of"):
        monkeypatch.setattr(f"reid_toolkit.service.desk.{name}", lambda *_: pytest.fail("computed anew"))
    assert {path: local.get(path).json() for path in PEOPLE} == first
    monkeypatch.undo()
    assert local.delete("/api/v1/people/Ana").status_code == 200
    assert local.get("/api/v1/people/count").json()["counts"][0]["people"] == 2
    assert all(local.get(path).json() != first[path] for path in PEOPLE)


def test_corrections_name_records_that_are_new_or_not_shown(gallery: Path) -> None:
    with client_of(settings_of(gallery)) as client:
        assert client.get("/api/v1/people/corrections").json()["corrections"] == []
        with Gallery.open(gallery) as store:
            old = Record("old", "door", 1.5e9, 1.5e9, "elsewhere")
            store.add(np.eye(2, 96, dtype=np.float32), [Record("new", "door", 5.0, 6.0, "elsewhere"), old])
            Book(store, "g", 0.0).say("different", "new", "old", "me")
            store.keep_for(time.time() - 1.6e9)
        (said,) = client.get("/api/v1/people/corrections").json()["corrections"]
        assert (said["first"], said["second"]) == ("new@door", f"record {key_digest(old)[:8]}")


def test_a_real_server(gallery: Path) -> None:
    with running(settings_of(gallery)) as address:
        assert httpx.get(f"{address}/api/v1/gallery").json()["records"] == 12


def test_a_search_by_record_leaves_itself_out(gallery: Path) -> None:
    with client_of(settings_of(gallery)) as client:
        chosen = client.get("/api/v1/people/Ana").json()["visits"][0]["records"][0]["id"]
        answer = client.post("/api/v1/search", data={"record": chosen}).json()
        assert chosen not in [one["id"] for one in answer["matches"]]
        assert [one["person"] for one in answer["matches"]][:3] == ["Ana"] * 3
        others = client.post("/api/v1/search", data={"person": "Ana"}).json()
        assert "Ana" not in [one["person"] for one in others["matches"]]
        assert len(others["matches"]) == 8


def test_searches_and_enrolments_do_not_wait_for_a_grouping(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reid_toolkit.service.correcting.PATIENCE", 0.0)
    red, green = [("picture", ("a.jpg", jpeg()))], [("picture", ("a.jpg", jpeg("green", 0.9)))]
    with client_of(settings_of(gallery)) as client:
        desk = client.app.state.context.desk  # type: ignore[attr-defined]
        with desk.writing:  # as a grouping holds it
            made = client.post("/api/v1/records", data={"camera": "gate"}, files=red)
            assert made.status_code == 201
            assert client.post("/api/v1/records", data={"camera": "gate"}, files=green).status_code == 201
            assert client.post("/api/v1/records", data={"camera": "gate"}, files=green).status_code == 409
            assert client.post("/api/v1/search", files=red).status_code == 200
            address = f"/api/v1/records/{made.json()['id']}"
            refused = client.delete(address)
            assert (refused.status_code, refused.headers["retry-after"]) == (409, "5")
        assert client.delete(address).status_code == 200


def test_with_a_retention_people_are_read_anew_only_if_somebody_expired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = make_gallery(tmp_path)
    with Gallery.open(gallery) as store:
        store.keep_for(3.15e9)
    desk = Desk(settings_of(gallery))
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    first = desk.book()
    for _ in range(3):
        now += 60
        assert desk.book() is first
    desk.close()


def test_who_becomes_one_person_is_said_so_that_a_third_can_follow(local: TestClient) -> None:
    """Neither has a name, and both have as many records, so the lower number stays."""
    done = local.post("/api/v1/people/same", json={"first": "person-000002", "second": "person-000001"}).json()
    assert (done["person"], done["number"]) == ("person-000001", 1)
    done = local.post("/api/v1/people/same", json={"first": done["person"], "second": "Ana"}).json()
    assert (done["person"], done["number"]) == ("Ana", 3)
    assert [one["records"] for one in local.get("/api/v1/people").json()["people"]] == [12]
    text = local.get("/openapi.json").json()["paths"]["/api/v1/people/same"]["post"]["description"]
    assert '"person" and "number"' in text


def test_readiness_does_not_wait_for_other_requests_and_is_looked_for_once(
    gallery: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(desk: Desk) -> None:
        asked.append(desk)
        raise GalleryError("the disk is full")

    asked: list[Desk] = []
    with client_of(settings_of(gallery)) as client:
        here = client.app.state.context  # type: ignore[attr-defined]
        here.reading.pending = here.reading.size
        assert client.get("/api/v1/people").status_code == 503
        assert client.get("/readyz").json() == {"status": "ready"}
        here.reading.pending = 0
        monkeypatch.setattr("reid_toolkit.service.readiness.ready", broken)
        assert client.get("/readyz").status_code == 200  # as it was a moment ago
        here.readiness._until = 0.0
        for _ in range(3):
            answer = client.get("/readyz")
            assert (answer.status_code, "says why" in answer.json()["error"]["message"]) == (503, True)
        assert len(asked) == 1
        assert "the disk is full" in caplog.text
        here.readiness._until, here.readiness._pool.pending = 0.0, 1  # an earlier look has not ended
        assert "too busy" in client.get("/readyz").json()["error"]["message"]
