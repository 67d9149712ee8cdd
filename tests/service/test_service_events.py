"""Live events, metrics and the description of the API."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from serving import bearer, client_of, running, settings_of, tokens_of
from starlette.testclient import TestClient
from waiting import wait_until

from reid_toolkit.errors import InputError
from reid_toolkit.live.events.event import Event
from reid_toolkit.live.events.lines import FileSink
from reid_toolkit.service.app import build_app, openapi_document
from reid_toolkit.service.errors import busy
from reid_toolkit.service.following import EventFile
from reid_toolkit.service.settings import Limits
from reid_toolkit.service.tokens import FILE, revoke_token


def event(number: int, camera: str = "door") -> Event:
    return Event(
        "entered", "Ana", None, "known", camera, 5.0, 4.0, 5.0, 0.9, None, f"t{number}", f"v{number}", f"k{number}"
    )


def parts_of(lines: list[str]) -> list[dict[str, str]]:
    """The events of a stream."""
    blocks = "\n".join(lines).split("\n\n")
    found = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks if "data: " in block]
    return [{**one, "key": json.loads(one["data"])["key"]} for one in found]


def read(address: str, until: int, begun: Callable[[], None] = lambda: None, **headers: str) -> list[dict[str, str]]:
    """The first events of a stream. ``begun`` is called when the stream has begun."""
    lines: list[str] = []
    deadline = time.monotonic() + 30
    with httpx.stream("GET", address, headers=headers, timeout=20) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            assert time.monotonic() < deadline, lines
            lines.append(line)
            if len(lines) == 1:
                begun()
            if sum(one.startswith("data: ") for one in lines) == until and not line:
                break
    return parts_of(lines)


def test_events_come_as_they_are_written_and_go_on_after_the_last(gallery: Path, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    sink = FileSink(file)
    sink.put([event(number) for number in range(3)])
    with running(settings_of(gallery, events=file)) as address:
        where = f"{address}/api/v1/events"
        first = read(f"{where}?recent=2", 2)
        assert [one["key"] for one in first] == ["k1", "k2"]
        assert {one["event"] for one in first} == {"entered"}
        (live,) = read(where, 1, lambda: sink.put([event(3, "ha\nll")]))
        assert (live["key"], json.loads(live["data"])["camera"]) == ("k3", "ha\nll")
        again = read(where, 3, **{"Last-Event-ID": first[0]["id"][: first[0]["id"].index("-")] + "-0"})
        assert [one["key"] for one in again] == ["k0", "k1", "k2"]
        assert [one["key"] for one in read(where, 1, **{"Last-Event-ID": first[1]["id"]})] == ["k3"]
    sink.close()


def test_a_file_that_is_replaced_shortened_or_damaged(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = EventFile(path)
    assert file.start(None, 5) == (0, 0)
    assert file.read(0, 0) == (0, 0, [])
    lines = [event(number).to_json() for number in range(4)]
    path.write_bytes(lines[0] + b"\nno event\n[1]\n" + b"[" * 10_000 + b"\n" + lines[1] + b"\n" + lines[2][:10])
    inode, place, found = file.read(0, 0)
    assert [json.loads(line.text)["key"] for line in found] == ["k0", "k1"]
    with path.open("ab") as more:
        more.write(lines[2][10:] + b"\n")
    inode, place, found = file.read(inode, place)
    assert [json.loads(line.text)["key"] for line in found] == ["k2"]
    other = tmp_path / "other"
    other.write_bytes(lines[3] + b"\n")
    other.replace(path)
    _, _, found = file.read(inode, place)
    assert [json.loads(line.text)["key"] for line in found] == ["k3"]
    assert file.start(f"{inode}-{place}", 0)[1] == 0


def test_a_revoked_token_ends_the_stream(gallery: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("reid_toolkit.service.api.events.BEAT", 0.1)
    tokens = tokens_of(gallery)
    with (
        running(settings_of(gallery, events=tmp_path / "none.jsonl")) as address,
        httpx.stream("GET", f"{address}/api/v1/events", headers=bearer(tokens["search"]), timeout=20) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == "retry: 2000"
        revoke_token(gallery / FILE, "anna")
        assert all(line in ("", ": still here") for line in lines)  # and ends


def test_no_events_and_too_many_streams(local: TestClient, gallery: Path) -> None:
    answer = local.get("/api/v1/events")
    assert answer.status_code == 404
    assert "follows no events" in answer.json()["error"]["message"]
    with client_of(settings_of(gallery, events=gallery / "e")) as client:
        client.app.state.context.streams = 20
        assert client.get("/api/v1/events").status_code == 503


def test_many_clients_at_once_are_no_more_streams_than_one_after_the_other(
    gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them ask before the file was looked at for the first."""
    gate, real = threading.Event(), EventFile.start

    def slow(self: EventFile, last: str | None, recent: int) -> tuple[int, int]:
        assert gate.wait(60)
        raise busy(1, "gone")

    monkeypatch.setattr(EventFile, "start", slow)
    settings = settings_of(gallery, events=tmp_path / "e", limits=Limits(streams=2))
    with running(settings) as address, ThreadPoolExecutor(4) as clients:
        asked = [clients.submit(httpx.get, f"{address}/api/v1/events?recent=1", timeout=60) for _ in range(4)]
        wait_until(lambda: sum(one.done() for one in asked) == 2)
        gate.set()
        said = [one.result().json()["error"]["message"] for one in asked]
        assert sorted(said) == ["gone", "gone", *["too many clients follow events"] * 2]
        monkeypatch.setattr(EventFile, "start", real)
        with httpx.stream("GET", f"{address}/api/v1/events", timeout=20) as answer:  # what failed was given back
            lines = answer.iter_lines()
            assert next(lines) == "retry: 2000"
            assert "reid_event_streams 1.0" in httpx.get(f"{address}/metrics").text
        wait_until(lambda: "reid_event_streams 0.0" in httpx.get(f"{address}/metrics").text)


def test_a_file_of_events_that_cannot_be_read(gallery: Path, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with client_of(settings_of(gallery, events=path)) as client:
        path.mkdir()
        for where in ("/api/v1/events", "/api/v1/events?recent=5", "/live"):
            answer = client.get(where)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")
            assert answer.json()["error"]["message"].startswith("the file of events cannot be read")
    with pytest.raises(InputError, match=r"events\.jsonl: cannot be read: it is no file: expected"):
        build_app(settings_of(gallery, events=path))


def test_metrics_name_routes_and_not_addresses(local: TestClient) -> None:
    local.get("/api/v1/people/Ana")
    local.get("/api/v1/people/person-000001")
    local.get("/no/such/secret-place")
    local.request("FOO", "/healthz")
    text = local.get("/metrics").text
    assert 'reid_requests_total{method="GET",route="/api/v1/people/{name}",status="200"} 2.0' in text
    assert "reid_records 12.0" in text
    assert 'reid_pending{pool="embedding"} 0.0' in text
    assert "secret-place" not in text
    assert "FOO" not in text


def test_the_description_of_the_api(local: TestClient) -> None:
    served = local.get("/openapi.json").json()
    assert served == openapi_document()
    assert {
        "/api/v1/search", "/api/v1/people/{name}", "/api/v1/records", "/api/v1/events", "/api/v1/cameras", "/healthz",
    } <= set(served["paths"])  # fmt: skip
    for path, ways in served["paths"].items():
        for way in ways.values():
            assert way.get("description") or way.get("summary"), path
            error = way["responses"]["default"]["content"]["application/json"]["schema"]
            assert error == {"$ref": "#/components/schemas/Error"}
            assert "422" not in way["responses"]
            assert way.get("security") == (None if path in ("/healthz", "/readyz") else [{"token": []}]), path
    assert served["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    fields = served["components"]["schemas"]
    assert set(fields["Error"]["properties"]) == {"error"}
    assert set(fields["Fault"]["properties"]) == {"code", "message"}
    for path, kind in (("/api/v1/records/{digest}/picture", "image/jpeg"), ("/api/v1/events", "text/event-stream")):
        assert set(served["paths"][path]["get"]["responses"]["200"]["content"]) == {kind}
