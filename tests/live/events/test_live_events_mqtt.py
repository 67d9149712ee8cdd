"""Against a real broker: Debian's package mosquitto."""

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from happenings import KEYS, happening, put_each
from waiting import wait_until

from reid_toolkit.live.events import EventSink, mqtt
from reid_toolkit.live.events.mqtt import Mqtt
from reid_toolkit.live.events.sender import UnsentError

paho = pytest.importorskip("paho.mqtt.client", reason="needs paho-mqtt, from the extra events")
PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs the program mosquitto: apt-get install mosquitto")

SETTINGS = """
listener {port} 127.0.0.1
persistence true
persistence_location {folder}/
autosave_on_changes true
autosave_interval 1
max_inflight_messages 0
max_queued_messages 0
"""


class Broker:
    """A mosquitto that can be killed and started again."""

    def __init__(self, folder: Path, more: str = "allow_anonymous true\n") -> None:
        folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.settings, self.stored = folder / "mosquitto.conf", folder / "mosquitto.db"
        # As root, mosquitto becomes another user, who cannot write to the folder of a test.
        self.settings.write_text(SETTINGS.format(port=self.port, folder=folder) + "user root\n" + more)
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        assert PROGRAM is not None
        self.process = subprocess.Popen(
            [PROGRAM, "-c", str(self.settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self.answers)

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "mosquitto does not start"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path / "broker")
    made.start()
    yield made
    made.kill()


class Reader:
    """Subscribes to all topics of a broker, and does not miss what comes while it is away."""

    def __init__(self, port: int) -> None:
        from paho.mqtt.enums import CallbackAPIVersion

        self.got: list[tuple[str, bytes]] = []
        self.subscribed = False
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id="reader", clean_session=False)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_subscribe = self.note
        self.client.on_message = lambda _, __, message: self.got.append((message.topic, message.payload))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        wait_until(lambda: self.subscribed)

    def note(self, *_: object) -> None:
        self.subscribed = True

    @property
    def keys(self) -> list[str]:
        import json

        return [json.loads(body)["key"] for _, body in self.got]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def reader(broker: Broker) -> Iterator[Reader]:
    made = Reader(broker.port)
    yield made
    made.close()


def test_events_are_published_as_json(broker: Broker, reader: Reader, sink_to: Callable[[str], EventSink]) -> None:
    sink = sink_to(f"mqtt://127.0.0.1:{broker.port}/home/reid%20events")
    sink.put([happening(0), happening(1)])
    wait_until(lambda: len(reader.got) == 2)
    assert reader.got == [("home/reid events", happening(number).to_json()) for number in range(2)]
    wait_until(lambda: (sink.poll(), sink.count.sent == 2)[1])


def test_a_broker_that_is_killed_in_the_middle_has_all_events_in_the_end(
    broker: Broker, reader: Reader, sink_to: Callable[[str], EventSink]
) -> None:
    sink = sink_to(f"mqtt://127.0.0.1:{broker.port}/reid")
    sink.put([happening(0)])
    # The broker must know its reader after the kill, or it drops what comes before the reader is back.
    wait_until(broker.stored.exists)
    put_each(sink, range(1, 300))
    wait_until(lambda: len(reader.got) >= 5)
    broker.kill()
    assert sink._sending.sent < 300, "it was killed while events were sent"  # type: ignore[attr-defined]
    reader.subscribed = False
    sink.put([happening(300)])
    wait_until(lambda: bool(sink._sending.notices))  # type: ignore[attr-defined]
    broker.start()
    wait_until(lambda: len(set(reader.keys)) == 301)
    with pytest.warns(RuntimeWarning, match="events cannot be sent now: "):
        sink.close()
    assert sink.count.sent == 301
    keys = reader.keys
    assert list(dict.fromkeys(keys)) == KEYS[:301], "in order, but for what is sent again"


def test_a_broker_may_come_later(tmp_path: Path, sink_to: Callable[[str], EventSink]) -> None:
    broker = Broker(tmp_path / "broker")
    sink = sink_to(f"mqtt://127.0.0.1:{broker.port}/reid")
    sink.put([happening(0)])
    wait_until(lambda: bool(sink._sending.notices))  # type: ignore[attr-defined]
    with pytest.warns(RuntimeWarning, match="Connection refused"):
        sink.poll()
    broker.start()
    try:
        wait_until(lambda: (sink.poll(), sink.count.sent == 1)[1])
    finally:
        sink.close()
        broker.kill()


def test_a_broker_wants_a_password(tmp_path: Path) -> None:
    if (program := shutil.which("mosquitto_passwd")) is None:
        pytest.skip("needs the program mosquitto_passwd")
    subprocess.run([program, "-b", "-c", str(tmp_path / "users"), "box", "right"], check=True)
    broker = Broker(tmp_path / "broker", f"allow_anonymous false\npassword_file {tmp_path / 'users'}\n")
    broker.start()
    try:
        for user, password in ((None, None), ("box", "wrong")):
            sender = Mqtt("127.0.0.1", broker.port, "reid", secure=False, user=user, password=password)
            with pytest.raises(UnsentError, match="the broker refuses the connection: Not authorized"):
                sender.send(KEYS[0], b"{}")
        sender = Mqtt("127.0.0.1", broker.port, "reid", secure=False, user="box", password="right")
        sender.send(KEYS[0], b"{}")
        sender.close()
    finally:
        broker.kill()


# paho does not close the socket itself if the certificate is not trusted.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_encrypted_broker_must_show_a_certificate_that_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (program := shutil.which("openssl")) is None:
        pytest.skip("needs the program openssl")
    command = [
        program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(tmp_path / "key.pem"), "-days", "2",
        "-out", str(tmp_path / "cert.pem"), "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    more = f"allow_anonymous true\ncertfile {tmp_path / 'cert.pem'}\nkeyfile {tmp_path / 'key.pem'}\n"
    broker = Broker(tmp_path / "broker", more)
    broker.start()
    try:
        sender = Mqtt("localhost", broker.port, "reid", secure=True, user=None, password=None)
        with pytest.raises(UnsentError, match="certificate verify failed"):
            sender.send(KEYS[0], b"{}")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        sender.send(KEYS[0], b"{}")
        sender.close()
    finally:
        broker.kill()


def test_a_broker_that_says_nothing_is_left_after_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "LIMIT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sender = Mqtt("127.0.0.1", silent.getsockname()[1], "reid", secure=False, user=None, password=None)
        with pytest.raises(UnsentError, match=r"no answer to the connection in 0\.2 s"):
            sender.send(KEYS[0], b"{}")
