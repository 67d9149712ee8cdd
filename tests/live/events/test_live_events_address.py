import io
import sys
from pathlib import Path

import pytest
from happenings import happening

from reid_toolkit.errors import InputError, MissingDependencyError
from reid_toolkit.live.events import open_sinks
from reid_toolkit.live.events.address import default_queues, secret, shown


def refused(*addresses: str) -> str:
    with pytest.raises(InputError) as error:
        open_sinks(addresses, Path("never-made"), io.StringIO())
    assert "\n" not in str(error.value)
    assert not Path("never-made").exists()
    return str(error.value)


def test_each_address_has_its_kind(tmp_path: Path) -> None:
    out = io.StringIO()
    addresses = ["-", str(tmp_path / "a.jsonl"), "http://127.0.0.1:9/hook/secret", "mqtt://127.0.0.1:9/reid/events"]
    sinks = open_sinks(addresses, tmp_path / "queues", out)
    assert [sink.name for sink in sinks] == ["-", str(tmp_path / "a.jsonl"), "http://127.0.0.1:9/...", addresses[3]]
    sinks[0].put([happening(0)])
    assert out.getvalue().encode() == happening(0).to_json() + b"\n"
    for sink in sinks:
        sink.close()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "expected a file"),
        ("amqp://host/x", "unknown kind of address 'amqp'"),
        ("mqtt:///topic", "no host"),
        ("mqtt://host", "expected mqtt://HOST"),
        ("mqtt://host/", "expected mqtt://HOST"),
        ("mqtt://host:99999/topic", "wrong port"),
        ("mqtt://host:x/topic", "wrong port"),
        ("mqtt://host/home/#", "none of the signs"),
        ("mqtts://host/home/+/x", "none of the signs"),
        ("mqtt://host/" + "x" * 70_000, "at most 65535 bytes"),
        ("https://", "no host"),
        ("https://host/ä", "expected ASCII"),
        ("https://host/a b", "expected ASCII"),
        ("https://host/\nX: y", "expected ASCII"),
        ("https://[::1/x", "no host"),
    ],
)
def test_a_wrong_address_is_one_line(address: str, said: str) -> None:
    assert said in refused(address)


@pytest.mark.parametrize("scheme", ["mqtt", "mqtts", "http", "https"])
@pytest.mark.parametrize("password", ["hunter2", "hun/ter2", "hun@ter2"])
def test_a_password_on_the_command_line_is_refused_and_not_repeated(scheme: str, password: str) -> None:
    said = refused(f"{scheme}://me:{password}@host/topic")
    assert "hun" not in said
    assert "ter2" not in said


def test_all_are_checked_before_one_is_opened(tmp_path: Path) -> None:
    refused(str(tmp_path / "new.jsonl"), "mqtt://host")
    assert not (tmp_path / "new.jsonl").exists()
    assert "is named twice" in refused("-", "-")
    with pytest.raises(InputError, match="standard output is closed"):
        open_sinks(["-"], None, None)


def test_secrets_come_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert secret("REID_WEBHOOK_TOKEN") is None
    (tmp_path / "token").write_text("from the file\n")
    monkeypatch.setenv("REID_WEBHOOK_TOKEN_FILE", str(tmp_path / "token"))
    assert secret("REID_WEBHOOK_TOKEN") == "from the file"
    monkeypatch.setenv("REID_WEBHOOK_TOKEN", "direct")
    assert "both set" in refused("https://host/x")
    monkeypatch.delenv("REID_WEBHOOK_TOKEN_FILE")
    assert secret("REID_WEBHOOK_TOKEN") == "direct"
    monkeypatch.setenv("REID_WEBHOOK_TOKEN", "two\nlines")
    assert "a header cannot hold" in refused("https://host/x")
    monkeypatch.setenv("REID_MQTT_PASSWORD_FILE", str(tmp_path / "gone"))
    assert "gone: cannot be read (No such file" in refused("mqtt://host/x")
    monkeypatch.setenv("REID_MQTT_PASSWORD_FILE", str(tmp_path / "token"))
    assert "without REID_MQTT_USER" in refused("mqtt://host/x")


def test_without_paho_the_install_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(MissingDependencyError, match=r"pip install '\.\[events\]'"):
        open_sinks(["mqtt://host/topic"], Path("never-made"), io.StringIO())


def test_queues_lie_in_the_folder_for_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_queues() == tmp_path / "reid" / "events"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_queues() == tmp_path / ".local" / "state" / "reid" / "events"


def test_the_path_of_a_webhook_is_not_shown() -> None:
    assert shown("https://hooks.example/services/T0/s3cret") == "https://hooks.example/..."
    assert shown("https://hooks.example?token=s3cret") == "https://hooks.example"
    assert shown("events.jsonl") == "events.jsonl"
