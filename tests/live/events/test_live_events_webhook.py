import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from happenings import KEYS, happening
from model_server import running
from waiting import wait_until

from reid_toolkit.live.events import EventSink, webhook
from reid_toolkit.live.events.sender import RefusedError, UnsentError
from reid_toolkit.live.events.webhook import Webhook


@dataclass
class Hook:
    """A webhook that answers as it is told."""

    statuses: list[int] = field(default_factory=list)
    """Of the next requests; then 200."""
    slow: float = 0.0
    """Seconds between two bytes of each answer."""
    got: list[tuple[str, dict, dict]] = field(default_factory=list)
    """Path, headers and event of each request."""
    address: str = ""

    @property
    def keys(self) -> list[str]:
        return [event["key"] for _, _, event in self.got]


@pytest.fixture
def hook() -> Iterator[Hook]:
    told = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.got.append((self.path, dict(self.headers), json.loads(body)))
            status = told.statuses.pop(0) if told.statuses else 200
            answer = f"HTTP/1.1 {status} So\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n".encode()
            try:
                if not told.slow:
                    self.wfile.write(answer)
                for byte in answer if told.slow else b"":
                    self.wfile.write(bytes([byte]))
                    time.sleep(told.slow)
            except OSError:  # the other side has had enough
                pass
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with running(Handler) as told.address:
        yield told


def test_an_event_is_posted_with_its_key(hook: Hook) -> None:
    sender = Webhook(f"{hook.address}/in/place?who=me", "t0ken")
    sender.send(happening(0).key, happening(0).to_json())
    sender.close()
    ((path, headers, event),) = hook.got
    assert path == "/in/place?who=me"
    assert event == json.loads(happening(0).to_json())
    assert headers["Idempotency-Key"] == event["key"] == KEYS[0]
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Bearer t0ken"
    Webhook(hook.address, None).send(KEYS[1], b"{}")
    assert hook.got[1][0] == "/"
    assert "Authorization" not in hook.got[1][1]


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422])
def test_an_answer_that_stays_so_refuses_the_event(hook: Hook, status: int) -> None:
    hook.statuses = [status]
    with pytest.raises(RefusedError, match=f"status {status}"):
        Webhook(hook.address, None).send(KEYS[0], b"{}")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 302, 307])
def test_an_answer_that_may_pass_does_not(hook: Hook, status: int) -> None:
    hook.statuses = [status]
    with pytest.raises(UnsentError, match=f"status {status}"):
        Webhook(hook.address, None).send(KEYS[0], b"{}")
    assert len(hook.got) == 1, "no redirection is followed"


@pytest.mark.parametrize("host", ["x" * 70 + ".example", "127.0.0.1:1"])
def test_a_host_that_cannot_be_reached_is_tried_again(host: str) -> None:
    with pytest.raises(UnsentError):
        Webhook(f"http://{host}/", None).send(KEYS[0], b"{}")


def test_a_server_that_answers_byte_by_byte_is_left_after_the_limit(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "LIMIT_SECONDS", 0.3)
    hook.slow = 0.2  # no byte takes longer than the limit, all take 15 s
    with pytest.raises(UnsentError):
        Webhook(hook.address, None).send(KEYS[0], b"{}")
    assert len(hook.got) == 1
    hook.slow = 0.0


def test_what_fails_comes_again_in_order_and_what_is_refused_does_not(
    hook: Hook, sink_to: Callable[[str], EventSink]
) -> None:
    hook.statuses = [500, 429, 200, 503, 404]
    sink = sink_to(hook.address)
    sink.put([happening(number) for number in range(4)])
    wait_until(lambda: len(hook.got) == 7)
    with pytest.warns(RuntimeWarning) as warnings:
        wait_until(lambda: (sink.poll(), sink.count.sent == 3)[1])
    assert hook.keys == [KEYS[0]] * 3 + [KEYS[1]] * 2 + KEYS[2:4]
    said = [str(warning.message).partition(": ")[2].removeprefix("//") for warning in warnings]
    assert [line for line in said if "refuses" in line] == [said[-1]]
    assert (sink.count.sent, sink.count.refused) == (3, 1)


@contextmanager
def hook_process(file: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen, int]]:
    command = [sys.executable, str(Path(__file__).parent / "hook_server.py"), str(port), str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        word, found = process.stdout.readline().split()
        assert word == "ready"
        yield process, int(found)
        process.kill()


def test_a_webhook_that_is_killed_and_comes_back_has_all_events(
    sink_to: Callable[[str], EventSink], tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    with hook_process(file) as (process, port):
        sink = sink_to(f"http://127.0.0.1:{port}/events")
        for number in range(200):
            sink.put([happening(number)])
        wait_until(lambda: file.exists() and len(file.read_text().splitlines()) >= 5)
        process.kill()  # while it is sent to
        process.wait()
        sink.put([happening(200)])
        wait_until(lambda: bool(sink._sending.notices))  # type: ignore[attr-defined]
    with hook_process(file, port):
        wait_until(lambda: len(set(file.read_text().splitlines())) == 201)
        with pytest.warns(RuntimeWarning, match="events cannot be sent now"):
            sink.close()
    keys = file.read_text().splitlines()
    assert list(dict.fromkeys(keys)) == KEYS[:201], "in order, but for what is sent again"
    assert len(keys) <= 202, "only the event that was on its way may come again"
