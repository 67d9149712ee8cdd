"""Attacks below HTTP's surface, on a real server: slow clients, many connections, smuggling, malformed requests."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from serving import client_of, jpeg, running, settings_of
from waiting import wait_until

from reid_toolkit.service.desk import Desk
from reid_toolkit.service.settings import Limits

QUICK = Limits(head_seconds=0.6, body_seconds=0.8, connections=12, answer_seconds=20.0)


@pytest.fixture(scope="module")
def address(shared_gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    settings = settings_of(shared_gallery, tokens=None, limits=QUICK)
    with running(settings) as where:
        yield "127.0.0.1", int(where.rpartition(":")[2])


def answer(connection: socket.socket) -> bytes:
    """All that the server sends until it closes the connection."""
    connection.settimeout(15)
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def say(address: tuple[str, int], *parts: bytes) -> bytes:
    with socket.create_connection(address) as connection:
        for part in parts:
            connection.sendall(part)
        return answer(connection)


def alive(address: tuple[str, int]) -> bool:
    return httpx.get(f"http://127.0.0.1:{address[1]}/healthz", timeout=15).status_code == 200


HEAD = b"POST /api/v1/search HTTP/1.1\r\nHost: localhost\r\n"
FORM = b"Content-Type: multipart/form-data; boundary=x\r\n"
SLOW = {
    "nothing at all": b"",
    "half a line": b"GET /heal",
    "headers without an end": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n",
    "a body that stops": HEAD + FORM + b"Content-Length: 1000\r\n\r\n--x\r\n",
    "a body that never begins": HEAD + FORM + b"Content-Length: 1000\r\n\r\n",
    "chunks that stop": HEAD + FORM + b"Transfer-Encoding: chunked\r\n\r\n5\r\n--x\r\n\r\n",
    "the second request of a connection": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /heal",
}


@pytest.fixture(scope="module")
def said_to_slow(address: tuple[str, int]) -> dict[str, bytes]:
    """What each of these clients was told until it was let go. They wait at the same time."""
    with ThreadPoolExecutor(len(SLOW)) as pool:
        return dict(zip(SLOW, pool.map(lambda sent: say(address, sent), SLOW.values()), strict=True))


@pytest.mark.parametrize("how", SLOW)
def test_clients_that_stop_are_let_go(address: tuple[str, int], said_to_slow: dict[str, bytes], how: str) -> None:
    said = said_to_slow[how]
    if b"POST" in SLOW[how]:
        assert said.startswith(b"HTTP/1.1 408 "), said
        assert json.loads(said.rpartition(b"\r\n\r\n")[2])["error"]["code"] == "too_slow"
    assert alive(address)


def test_a_body_that_drips_is_let_go(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        field = b'--x\r\nContent-Disposition: form-data; name="camera"\r\n\r\n'
        connection.sendall(HEAD + FORM + b"Content-Length: 100000\r\n\r\n" + field)
        for _ in range(60):
            try:
                connection.sendall(b"-")
            except OSError:  # the server has closed it
                break
            time.sleep(0.05)
        assert b" 408 " in answer(connection)


def test_headers_that_drip_are_let_go(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        closed = False
        for _ in range(200):
            try:
                connection.sendall(b"X-A: b\r\n")
            except OSError:
                closed = True
                break
            time.sleep(0.05)
        assert closed


def test_many_idle_connections_do_not_stop_the_service(address: tuple[str, int]) -> None:
    crowd = [socket.create_connection(address) for _ in range(40)]
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:  # they are let go by and by
            if httpx.get(f"http://127.0.0.1:{address[1]}/healthz", timeout=15).status_code == 200:
                break
        assert alive(address)
    finally:
        for one in crowd:
            one.close()


SMUGGLED = {
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
    "unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two codings": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "negative length": b"Content-Length: -5\r\n\r\n",
    "length of letters": b"Content-Length: 5x\r\n\r\nhello",
    "bad chunk": FORM + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "space before the colon": b"X-A : b\r\n\r\n",
    "folded header": b"X-A: b\r\n c: d\r\n\r\n",
    "bare carriage return": b"X-A: b\rX-Evil: 1\r\n\r\n",
    "null in a header": b"X-A: b\0c\r\n\r\n",
    "two hosts": b"Host: evil.example\r\n\r\n",
    "huge headers": b"X-A: " + b"b" * 100_000 + b"\r\n\r\n",
    "many headers": b"".join(b"X-%d: b\r\n" % number for number in range(5000)) + b"\r\n",
    "upgrade": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nContent-Length: 0\r\n\r\n",
    "http2": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("how", SMUGGLED)
def test_smuggled_and_malformed_requests_get_one_refusal(address: tuple[str, int], how: str) -> None:
    said = say(address, HEAD + SMUGGLED[how])
    assert said.count(b"HTTP/1.1 ") <= 2
    first = said.split(b"\r\n", 1)[0]
    assert first[9:12] in (b"400", b"408", b"413", b"415", b"421", b"431", b""), said[:300]
    assert b"x-evil" not in said.lower()
    assert b" 200 " not in said
    assert b"Traceback" not in said
    assert alive(address)


LINES = (
    b"GET /nothing HTTP/9.9\r\nHost: localhost\r\n\r\n", b"GET /\r\n\r\n", b"\0\0\0\0\r\n\r\n",
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"GET /healthz HTTP/1.1\r\n\r\n",
    b"GET \x80 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /" + b"a" * 70_000,
    b"CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
)  # fmt: skip


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_malformed_lines_do_not_stop_the_service(address: tuple[str, int], line: bytes) -> None:
    said = say(address, line)
    assert b" 200 " not in said.split(b"\r\n", 1)[0]
    assert alive(address)


def test_a_full_queue_says_when_to_come_back(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And who waits in it is answered in the end."""
    gate, inside = threading.Event(), threading.Semaphore(0)
    real = Desk.held

    def slow(self: Desk, digest: str) -> object:
        inside.release()
        assert gate.wait(20)
        return real(self, digest)

    monkeypatch.setattr(Desk, "held", slow)
    limits = Limits(embedding=1, queue=1)
    with running(settings_of(gallery, limits=limits)) as where:
        statuses: list[httpx.Response] = []

        def ask() -> None:
            statuses.append(httpx.post(f"{where}/api/v1/search", data={"record": "0" * 64}, timeout=30))

        clients = [threading.Thread(target=ask) for _ in range(2)]
        clients[0].start()
        assert inside.acquire(timeout=20)
        clients[1].start()
        wait_until(lambda: 'reid_pending{pool="embedding"} 2.0' in httpx.get(f"{where}/metrics").text)
        refused = httpx.post(f"{where}/api/v1/search", data={"record": "0" * 64}, timeout=30)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "busy"
        assert httpx.get(f"{where}/api/v1/gallery").status_code == 200  # others are answered meanwhile
        gate.set()
        for client in clients:
            client.join()
        assert [one.status_code for one in statuses] == [404, 404]


def test_all_pictures_of_a_view_may_be_asked_for_at_once(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a proxy that speaks HTTP/2 does. Other requests do not wait for them."""
    gate, asked, real = threading.Event(), 120, Desk.held

    def slow(self: Desk, digest: str) -> object:
        assert gate.wait(60)
        return real(self, digest)

    with running(settings_of(gallery)) as where, ThreadPoolExecutor(asked) as clients:
        (record,) = httpx.post(f"{where}/api/v1/search", data={"person": "Ana", "top_k": "1"}).json()["matches"]
        monkeypatch.setattr(Desk, "held", slow)
        answers = [clients.submit(httpx.get, where + record["picture"], timeout=60) for _ in range(asked)]
        try:
            waiting = f'reid_pending{{pool="pictures"}} {asked}.0'
            wait_until(lambda: waiting in httpx.get(f"{where}/metrics").text)
            assert httpx.get(f"{where}/api/v1/people").status_code == 200
        finally:
            gate.set()
        assert {answer.result().status_code for answer in answers} == {200}


def test_every_answer_has_a_time_limit(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr(Desk, "held", lambda *_: gate.wait(20))
    with client_of(settings_of(gallery, limits=Limits(answer_seconds=0.2))) as client:
        answer = client.get(f"/api/v1/records/{'0' * 64}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
        gate.set()


def test_what_fails_unexpectedly_says_nothing(
    gallery: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And its answer is as well protected and counted as any other, and the log says what it was."""

    def broken(*_: object) -> None:
        raise RuntimeError(f"secret of {gallery}")

    monkeypatch.setattr(Desk, "held", broken)
    with client_of(settings_of(gallery)) as client:
        answer = client.get(f"/api/v1/records/{'0' * 64}")
        assert answer.status_code == 500
        assert answer.json()["error"]["message"] == "something went wrong in the service; its log says what"
        assert "secret" not in answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        counted = 'reid_requests_total{method="GET",route="/api/v1/records/{digest}",status="500"} 1.0'
        assert counted in client.get("/metrics").text
        (noted,) = caplog.records
        assert noted.getMessage() == "GET /api/v1/records/{digest} failed"
        assert noted.exc_info is not None
        assert client.post("/api/v1/search", files=[("picture", ("a.jpg", jpeg()))]).status_code == 200
