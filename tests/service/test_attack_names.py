"""Attacks by names that a camera, a file, a person or a tag can carry: no script, no header, no line of a log."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from serving import client_of, jpeg, make_gallery, settings_of
from starlette.testclient import TestClient

from reid_toolkit.gallery import Gallery
from reid_toolkit.service.errors import without_paths

SCRIPT = "<script>alert(1)</script>"
CAMERAS = (
    SCRIPT,
    '"><img src=x onerror=alert(1)>',
    "door\r\nSet-Cookie: a=b",
    "../../etc",
    "'; DROP TABLE record; --",
    "\u202egate\x1b[2J",
    "{{7*7}}${7*7}<%= 7*7 %>",
    "</script><svg onload=alert(1)>",
)
PERSON = '<b onmouseover="alert(1)">'


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service whose cameras, tags, tracklets and people have hostile names."""
    folder = tmp_path_factory.mktemp("hostile folder <b>")
    gallery = make_gallery(folder, cameras=CAMERAS, names={1: PERSON, 2: "a/b?c#d"}, tags=(SCRIPT,))
    with client_of(settings_of(gallery)) as client:
        yield client


def test_names_come_back_as_data(hostile: TestClient) -> None:
    about = hostile.get("/api/v1/gallery")
    assert about.headers["content-type"] == "application/json"
    document = about.json()
    assert sorted(one["name"] for one in document["cameras"]) == sorted(CAMERAS)
    assert document["tags"] == [SCRIPT]
    assert document["sources"][0]["label"] == "site"


@pytest.mark.parametrize("camera", CAMERAS)
def test_hostile_cameras_can_be_searched(hostile: TestClient, camera: str) -> None:
    for fields in ({"camera": camera}, {"query_camera": camera, "camera": camera}):
        answer = hostile.post("/api/v1/search", data=fields, files=[("picture", ("a.jpg", jpeg()))])
        if "\r" in camera and answer.status_code == 400:  # a form cannot carry every line end
            continue
        assert answer.status_code == 200, answer.text
        assert {one["camera"] for one in answer.json()["matches"]} == {camera}
        assert answer.headers["content-type"] == "application/json"
        assert "set-cookie" not in answer.headers
        for match in answer.json()["matches"]:
            assert match["picture"].startswith("/api/v1/records/")
            picture = hostile.get(match["picture"])
            assert picture.headers["content-type"] == "image/jpeg"
            assert picture.headers["x-content-type-options"] == "nosniff"
    left = hostile.get("/api/v1/search/filters", params={"camera": camera}).json()
    assert left == {"records": 6, "by_camera": {camera: 6}}


def test_hostile_people_can_be_shown_and_found(hostile: TestClient) -> None:
    shown = hostile.get(f"/api/v1/people/{quote(PERSON, safe='')}")
    assert shown.json()["person"] == PERSON
    assert hostile.get("/api/v1/people/person-000002").json()["person"] == "a/b?c#d"
    assert hostile.get("/api/v1/people", params={"q": "onmouse"}).json()["people"][0]["name"] == PERSON
    missing = hostile.get(f"/api/v1/people/{quote('<i>nobody</i>', safe='')}")
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/json"


def test_no_page_is_made_of_an_error(hostile: TestClient) -> None:
    for place in ("/", "/api/v1/", "/login?next=", "/people/"):
        path = place + quote(SCRIPT)
        answer = hostile.get(path, headers={"Accept": "text/html"})
        assert SCRIPT not in answer.text


def test_the_audit_log_has_one_line_for_each_event(tmp_path: Path) -> None:
    """Log injection: whatever a name holds, it adds no line."""
    gallery = make_gallery(tmp_path, names={3: "Ana"})
    with Gallery.open(gallery) as store:
        before = len(store.audit_log())
    forged = 'x\n{"line": 1, "user": "root", "action": "audit off"}\r\n\u2028'
    with client_of(settings_of(gallery)) as client:
        client.post("/api/v1/search", files=[("picture", (f"{forged}.jpg", jpeg()))])
        client.get("/api/v1/people", params={"q": forged[:100]})
        assert client.post("/api/v1/people/Ana/name", json={"name": forged}).status_code == 422
        enrolled = client.post(
            "/api/v1/records",
            data={"camera": forged, "tracklet": forged},
            files=[("picture", ("a.jpg", jpeg("green")))],
        )
        assert enrolled.status_code in (201, 400, 422)
    lines = (gallery / "audit.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    events = [json.loads(line) for line in lines]
    assert [event["line"] for event in events] == list(range(1, len(events) + 1))
    assert before < len(events) <= before + 4
    assert all(event["action"] != "audit off" for event in events)
    with Gallery.open(gallery) as store:
        assert store.check().sound


NAMES = ("", " ", "x" * 101, "a\nb", "a\0b", "person-000009", "c-1", "\u202ex\u200b", "\ud7ff")


@pytest.mark.parametrize("name", NAMES)
def test_names_that_cannot_be_used_are_refused(hostile: TestClient, name: str) -> None:
    answer = hostile.post("/api/v1/people/person-000003/name", json={"name": name})
    assert answer.status_code == 422
    assert hostile.get("/api/v1/people/person-000003").json()["person"] == "person-000003"


def test_a_name_that_somebody_has_is_a_conflict(hostile: TestClient) -> None:
    answer = hostile.post("/api/v1/people/person-000003/name", json={"name": PERSON})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")


def test_messages_hold_no_path() -> None:
    for message, expected in (
        ("/srv/my gallery/g: was replaced", "g: was replaced"),
        ("/srv/data/model.onnx: cannot read the model", "model.onnx: cannot read the model"),
        ("C:\\reid\\g\\a.db: no", "a.db: no"),
        ("'/home/a b/c d/e.jpg' is none", "'e.jpg' is none"),
        ("x@y@/footage/site one", "x@y@site one"),
        ("'C:\\a b\\c d.jpg' and '~/a b/c d.jpg' are none", "'c d.jpg' and 'c d.jpg' are none"),
        ("no camera 'Floor 1/Door 2' in /srv/my gallery/g", "no camera 'Floor 1/Door 2' in g"),
        ("'Ana/Maria' is in '/srv/my gallery/g/a.db'", "'Ana/Maria' is in 'g/a.db'"),
        ("nothing; run `reid people /srv/g` first", "nothing"),
        ("at 12/24 of 3/4", "at 12/24 of 3/4"),
    ):
        assert without_paths(message, ["/srv/my gallery/g"]) == expected
