"""From what ``--events`` names to where events go. All checks are done here, before the first frame."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import SplitResult, unquote, urlsplit

from reid_toolkit.errors import InputError
from reid_toolkit.live.events.lines import FileSink, StreamSink
from reid_toolkit.live.events.sender import QueueSink, Transport
from reid_toolkit.live.events.sink import EventSink

MQTT_PORTS = {"mqtt": 1883, "mqtts": 8883}
LONGEST_TOPIC = 65_535
"""Bytes, by the standard (MQTT 3.1.1, section 1.5.3)."""
EXPECTED = "expected a file, -, mqtt://HOST[:PORT]/TOPIC, mqtts://..., http://... or https://..."
STATE_FOLDER = "XDG_STATE_HOME"


def open_sinks(addresses: Sequence[str], queues: Path | None, stdout: IO[str] | None) -> list[EventSink]:
    """Open all destinations of events. ``queues`` is the folder in which events wait for a broker or a webhook; None
    takes :func:`default_queues`. ``stdout`` is what "-" stands for; None if it is closed.

    No connection is tried: a broker may start later than the watch.

    Raises:
        InputError: an address is malformed, is named twice or holds a password; a file cannot be written; or a file
            with a password cannot be read.
        MissingDependencyError: MQTT needs paho-mqtt, which is not installed.
    """
    if twice := next((address for address in addresses if addresses.count(address) > 1), None):
        raise InputError(f"--events {shown(twice)}: is named twice: name each destination once")
    opened: list[EventSink] = []
    try:
        makers = [maker_of(address, queues, stdout) for address in addresses]
        for make in makers:
            opened.append(make())
    except BaseException:
        for sink in opened:
            sink.close()
        raise
    return opened


def maker_of(address: str, queues: Path | None, stdout: IO[str] | None) -> Callable[[], EventSink]:
    """Check an address, and return the function that opens it."""
    if address == "-":
        if stdout is None:
            raise InputError("--events -: standard output is closed: open it, or name a file")
        return lambda: StreamSink(stdout)
    scheme, found, _ = address.partition("://")
    if not found:
        if not address:
            raise InputError(f"--events '': {EXPECTED}")
        return lambda: FileSink(Path(address))
    if scheme not in ("mqtt", "mqtts", "http", "https"):
        raise InputError(f"--events {shown(address)}: unknown kind of address {scheme!r}: {EXPECTED}")
    transport = mqtt(address) if scheme.startswith("mqtt") else webhook(address)
    return lambda: QueueSink(shown(address), address, queues or default_queues(), transport)


def mqtt(address: str) -> Transport:
    """The transport of an address ``mqtt://`` or ``mqtts://``."""
    from reid_toolkit.live.events.mqtt import Mqtt, require_paho

    parts = split(address)
    topic = unquote(parts.path[1:])
    if not topic or {"?", "#"} & set(address) or {"+", "#", "\0"} & set(topic):
        raise InputError(
            f"--events {shown(address)}: expected {parts.scheme}://HOST[:PORT]/TOPIC, where the topic has at least one "
            "letter and none of the signs + # ?"
        )
    if len(topic.encode(errors="replace")) > LONGEST_TOPIC:
        raise InputError(f"--events {shown(address)[:80]}...: a topic has at most {LONGEST_TOPIC} bytes")
    user, password = os.environ.get("REID_MQTT_USER"), secret("REID_MQTT_PASSWORD")
    if password and not user:
        raise InputError("REID_MQTT_PASSWORD is set without REID_MQTT_USER: MQTT needs both: set the user too")
    require_paho()
    return Mqtt(
        parts.hostname or "", parts.port or MQTT_PORTS[parts.scheme], topic, secure=parts.scheme == "mqtts",
        user=user, password=password,
    )  # fmt: skip


def webhook(address: str) -> Transport:
    """The transport of an address ``http://`` or ``https://``."""
    from reid_toolkit.live.events.webhook import Webhook

    split(address)
    if "#" in address or not address.isascii() or not address.isprintable() or " " in address:
        raise InputError(
            f"--events {shown(address)}: not the address of a webhook: expected ASCII without spaces and without #; "
            "write other signs as %XX"
        )
    token = secret("REID_WEBHOOK_TOKEN")
    if token and not (token.isascii() and token.isprintable()):
        raise InputError("REID_WEBHOOK_TOKEN: has signs that a header cannot hold: expected printable ASCII")
    return Webhook(address, token)


def split(address: str) -> SplitResult:
    """The parts of an address. Raises :class:`InputError` if it has no host, a wrong port, or a password."""
    try:
        parts = urlsplit(address)
        right = bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise InputError(f"--events {shown(address)}: no host, or a wrong port: {EXPECTED}")
    if "@" in parts.netloc:
        raise InputError(
            f"--events {shown(address)}: has a user or a password, which other users of this machine could read: set "
            "REID_MQTT_USER and REID_MQTT_PASSWORD, or REID_WEBHOOK_TOKEN"
        )
    return parts


def secret(variable: str) -> str | None:
    """A secret from an environment variable, or from the file that ``VARIABLE_FILE`` names. None if neither is set.

    Raises :class:`InputError` if both are set, or the file cannot be read.
    """
    value, file = os.environ.get(variable), os.environ.get(f"{variable}_FILE")
    if not file:
        return value or None
    if value:
        raise InputError(f"{variable} and {variable}_FILE are both set: set one of them")
    try:
        return Path(file).read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InputError(f"{variable}_FILE is {file}: cannot be read ({why})") from None


def shown(address: str) -> str:
    """An address without secrets. Of a webhook only scheme and host, because its path often is a secret."""
    scheme, found, rest = address.partition("://")
    if not found:
        return address
    place, slash, path = rest.partition("/")
    host = place.rpartition("@")[2].partition("?")[0].partition("#")[0]
    if "@" in path:  # a password with a slash in it
        return f"{scheme}://..."
    if scheme in ("http", "https"):
        return f"{scheme}://{host}{'/...' if path else ''}"
    return f"{scheme}://{host}{slash}{path}"


def default_queues() -> Path:
    """The folder for queues, if none is named: ``reid/events`` in the user's folder for programs' states."""
    given = Path(os.environ.get(STATE_FOLDER, ""))
    try:
        return (given if given.is_absolute() else Path.home() / ".local" / "state") / "reid" / "events"
    except RuntimeError:
        raise InputError("there is no home folder in which events could wait: give --events-queue FOLDER") from None
