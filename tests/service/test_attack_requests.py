"""Attacks by addresses, headers and values: traversal, injection, other hosts and sites, stale cursors, SSRF."""

import base64
import json
from urllib.parse import quote

import pytest
from fort import Fort
from serving import CAMERAS, jpeg
from starlette.websockets import WebSocketDisconnect

from reid_toolkit.gallery.cursor import CHECK_BYTES, Bond, Cursor, Mark, Position, digest

ROOT = "../../../../../../etc/passwd"
TRAVERSALS = (
    f"/api/v1/records/{ROOT}/picture",
    "/api/v1/records/..%2f..%2f..%2fetc%2fpasswd/picture",
    "/api/v1/records/..%252f..%252fetc%252fpasswd/picture",
    "/api/v1/records/%2e%2e/%2e%2e/picture",
    "/api/v1/records/%2fetc%2fpasswd",
    "/api/v1/records/%00/picture",
    "/api/v1/records/" + "0" * 64 + "%00.jpg/picture",
    "/api/v1/records/" + "g" * 64 + "/picture",
    "/api/v1/records/" + "ß" * 64,
    "/api/v1/records/" + "٣" * 64 + "/picture",
    "/api/v1/records/" + "0" * 5000,
    "/api/v1/people/..%2f..%2fetc",
    "/api/v1/people/%2e%2e",
    "/api/v1/people/%ff%fe",
    "/static/..%2f..%2fapp.py",
    "/static/../../app.py",
    "/static/%2e%2e/%2e%2e/tokens.json",
    "/static/....//....//tokens.json",
    "/static//etc/passwd",
    "/static/C:%5cWindows%5cwin.ini",
    "/tokens.json",
    "/audit.jsonl",
    "/.git/config",
    "/docs/../openapi.json%00",
    "//etc/passwd",
    "/api/v1/../../etc/passwd",
)


@pytest.mark.parametrize("path", TRAVERSALS)
def test_traversal_finds_nothing(fort: Fort, path: str) -> None:
    answer = fort.ask("GET", path)
    assert answer.status_code in (404, 405), path
    assert "root:" not in answer.text
    assert '"digest"' not in answer.text


VALUES = (
    ("camera", "' OR 1=1 --"),
    ("camera", "door\0"),
    ("camera", "\ud7ff\u202egate"),
    ("camera", "x" * 60_000),
    ("tag", '"]; DROP TABLE record; --'),
    ("tag", "%"),
    ("source", "/"),
    ("source", "../"),
    ("since", "nan"),
    ("since", "-inf"),
    ("since", "1e400"),
    ("until", "99999-01-01T00:00:00"),
    ("until", "yesterday; rm -rf /"),
    ("top_k", "0"),
    ("top_k", "-1"),
    ("top_k", "1e3"),
    ("top_k", "1000000000000000000000"),
    ("top_k", "٣"),
    ("top_k", "201"),
    ("group", "people"),
    ("group", "tracklet\r\nSet-Cookie: a=b"),
    ("query_camera", "nowhere"),
    ("false_match_rate", "0"),
    ("false_match_rate", "nan"),
    ("false_match_rate", "0.6"),
    ("after", "x"),
    ("after", "A" * 30_000),
    ("after", "eyJhIjoxfQ"),
    ("gallery", "/etc"),
    ("model", "/etc/passwd"),
    ("calibration", "/etc/passwd"),
    ("__proto__", "x"),
)


@pytest.mark.parametrize(("field", "value"), VALUES)
def test_values_that_make_no_sense_are_refused(fort: Fort, field: str, value: str) -> None:
    answer = fort.ask("POST", "/api/v1/search", data={field: value}, files=[("picture", ("a.jpg", jpeg()))])
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize(
    "query",
    [
        "camera=nowhere", "since=x", "until=%00", "source=..%2f", "tag=%F0%9F", "after=1", "camera=&since=&x=1",
        "since=1&since=2",
    ],
)  # fmt: skip
def test_filters_that_make_no_sense_are_refused(fort: Fort, query: str) -> None:
    assert 400 <= fort.ask("GET", f"/api/v1/search/filters?{query}").status_code < 500


def test_no_address_is_fetched_for_a_client(fort: Fort, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSRF: whatever address a field holds, the service opens no connection and no file for it."""
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the service connects to somewhere"))
    for address in (
        "http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "//localhost:6379/", "rtsp://camera/1",
        "gopher://x", "ftp://x/y.jpg", "\\\\server\\share", "milvus://127.0.0.1:19530/x",
    ):  # fmt: skip
        for field in ("record", "person", "picture", "camera", "source", "url"):
            answer = fort.ask("POST", "/api/v1/search", data={field: address})
            assert 400 <= answer.status_code < 500
        for name in ("first", "second"):
            pair = {"first": "Ana", "second": "Ana", name: address}
            assert fort.ask("POST", "/api/v1/people/same", json=pair).status_code in (404, 409)
        files = [("picture", (address, jpeg()))]
        assert fort.ask("POST", "/api/v1/search", files=files).status_code == 200  # a name, and no address


HOSTS = (
    "evil.example", "localhost.evil.example", "evil.example:8000", "localhost:8000@evil.example",
    "127.0.0.1.evil.example",
    "localhost/..", "[::1", "10.0.0.1", "localhost:port", "", "localhost:8000, evil.example", "0x7f.1.evil",
    "xn--localhst-u0a",
)  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_a_wrong_host_is_refused(fort: Fort, host: str) -> None:
    answer = fort.ask("GET", "/api/v1/whoami", headers={"Host": host})
    assert answer.status_code == 421
    assert "evil" not in answer.text


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1", "LOCALHOST:8000", "127.0.0.1", "127.9.9.9:80", "[::1]:8000"]
)
def test_the_names_of_this_machine_are_known(fort: Fort, host: str) -> None:
    assert fort.ask("GET", "/api/v1/whoami", headers={"Host": host}).status_code == 200


ORIGINS = (
    {"Origin": "http://evil.example"},
    {"Origin": "https://localhost.evil.example"},
    {"Origin": "http://localhost:9999"},
    {"Origin": "null"},
    {"Origin": "http://localhost:8000.evil.example"},
    {"Origin": "http://localhost:8000@evil.example"},
    {"Origin": "file://"},
    {"Origin": "http://["},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://localhost:8000", "Sec-Fetch-Site": "cross-site"},
)


@pytest.mark.parametrize("headers", ORIGINS)
def test_another_site_changes_nothing(fort: Fort, headers: dict[str, str]) -> None:
    for method, path in (("POST", "/api/v1/people/same"), ("DELETE", "/api/v1/people/Ana"), ("POST", "/login")):
        answer = fort.ask(method, path, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "wrong_origin")


def test_another_site_reads_nothing_of_the_api(fort: Fort) -> None:
    assert fort.ask("GET", "/api/v1/people", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert fort.ask("OPTIONS", "/api/v1/people", headers={"Origin": "http://evil.example"}).status_code == 405


INJECTIONS = ("a\r\nX-Evil: 1", "a\nX-Evil: 1", "%0d%0aX-Evil:%201", "\u010d\u010aX-Evil: 1", "\x85X-Evil: 1")


@pytest.mark.parametrize("text", INJECTIONS)
def test_no_header_can_be_injected(fort: Fort, text: str) -> None:
    for answer in (
        fort.ask("GET", "/api/v1/people", params={"q": text}),
        fort.ask("GET", "/api/v1/people/" + quote(text, safe="")),
        fort.ask("GET", "/people/" + quote(text, safe=""), None),
        fort.ask("GET", "/api/v1/people", params={"after": text}),
        fort.ask("POST", "/login", None, data={"token": fort.tokens["search"], "next": f"/{text}"}),
        fort.ask("POST", "/api/v1/search", files=[("picture", (text, jpeg()))]),
    ):
        assert "x-evil" not in answer.headers
        assert not any("\n" in value or "\r" in value for value in answer.headers.values())


GOALS = (
    "//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)",
    "/\t/evil.example",
    "/login?next=/", " /people", "/a b", "/%0a", "people", "/../..//evil.example\n",
)  # fmt: skip


@pytest.mark.parametrize("goal", GOALS)
def test_signing_in_leads_nowhere_else(fort: Fort, goal: str) -> None:
    answer = fort.ask("POST", "/login", None, data={"token": fort.tokens["search"], "next": goal})
    where = answer.headers["location"]
    assert answer.status_code == 303
    assert where == "/" or (where.startswith("/") and where[1:2] not in ("/", "\\") and "evil" not in where)


def page(fort: Fort, **fields: str) -> dict:
    answer = fort.ask("POST", "/api/v1/search", data=fields, files=[("picture", ("a.jpg", jpeg()))])
    return answer.json() | {"status": answer.status_code}


def test_stale_and_foreign_cursors_are_refused(fort: Fort) -> None:
    cursor = page(fort, top_k="2")["after"]
    assert page(fort, top_k="5", after=cursor)["status"] == 200
    for fields in (
        {"camera": CAMERAS[0]}, {"group": "camera"}, {"tag": "morning"}, {"since": "5"}, {"until": "9e9"},
    ):  # fmt: skip
        told = page(fort, after=cursor, **fields)
        assert (told["status"], told["error"]["code"]) == (400, "bad_request"), fields
    files = [("picture", ("a.jpg", jpeg("green", 0.8)))]
    assert fort.ask("POST", "/api/v1/search", data={"after": cursor}, files=files).status_code == 400
    for changed in (cursor[:-2], cursor[:-1] + ("A" if cursor[-1] != "A" else "B"), cursor[::-1], cursor + cursor):
        assert page(fort, after=changed)["status"] == 400
    for after in ("p", "p-1", "p1.5", "1", "pp1", "p٣", "p" + "9" * 50):
        assert fort.ask("GET", "/api/v1/people", params={"after": after}).status_code in (400, 422)
    assert fort.ask("GET", "/api/v1/people", params={"after": "p999999999"}).json()["people"] == []


def test_a_cursor_may_be_as_long_as_a_large_gallery_makes_it(fort: Fort) -> None:
    """That of a search by tracklet holds all tracklets that were shown."""
    (first,) = page(fort, top_k="1", group="tracklet")["matches"]
    asked = {"record": first["id"], "top_k": "1", "group": "tracklet"}
    after = fort.ask("POST", "/api/v1/search", data=asked).json()["after"]
    _, *made_for, marks, shown = json.loads(base64.urlsafe_b64decode(after + "==")[:-CHECK_BYTES])
    many = {digest(b"%d" % number) for number in range(20_000)}
    places = {name: Mark(rank, Position(*at)) for name, rank, at in marks}
    long = str(Cursor(Bond(*made_for), places, frozenset(shown) | many))
    assert len(long) > 300_000
    (second,) = fort.ask("POST", "/api/v1/search", data={**asked, "after": after}).json()["matches"]
    asked["after"] = long
    for form in ({"data": asked}, {"files": {name: (None, value) for name, value in asked.items()}}):
        answer = fort.ask("POST", "/api/v1/search", **form)
        assert [one["id"] for one in answer.json()["matches"]] == [second["id"]], answer.text
    short = "record=0&" + "camera=" + "x" * 70_000
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert fort.ask("POST", "/api/v1/search", content=short, headers=headers).status_code == 400


BODIES = (
    b"", b"{", b"null", b"[]", b'"x"', b'{"first": 1, "second": 2}', b'{"first": "Ana"}', b"[" * 100_000,
    b'{"first": "Ana", "second": "x", "who": "root"}', b'{"first": null, "second": null}', b"\xff\xfe",
    json.dumps({"first": "A" * 301, "second": "b"}).encode(), b'{"first": "", "second": ""}',
    b'{"first": "\\ud800", "second": "x"}', b'{"first": {"$ne": 1}, "second": "x"}',
)  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_malformed_json_is_refused(fort: Fort, body: bytes) -> None:
    answer = fort.ask("POST", "/api/v1/people/same", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 404, 422)
    answer = fort.ask("POST", "/api/v1/people/Ana/split", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 404, 422)


def test_other_methods_and_websockets_are_refused(fort: Fort) -> None:
    for method in ("PUT", "PATCH", "TRACE", "CONNECT", "FOO", "PROPFIND"):
        assert fort.ask(method, "/api/v1/people").status_code == 405
    with pytest.raises(WebSocketDisconnect) as refused, fort.client.websocket_connect("/api/v1/events"):
        pass
    assert refused.value.code == 1008
