"""Sends events to an MQTT broker, with QoS 1: the broker confirms each."""

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from reid_toolkit.errors import MissingDependencyError, first_line
from reid_toolkit.live.events.sender import UnsentError

if TYPE_CHECKING:
    from paho.mqtt.client import Client

LIMIT_SECONDS = 10.0
"""The longest wait for a connection, and for the confirmation of an event."""
KEEP_ALIVE_SECONDS = 30
"""Between two signs of life, so that a broken connection is noticed."""


def require_paho() -> None:
    """Raise :class:`MissingDependencyError` if paho-mqtt is not installed."""
    try:
        import paho.mqtt.client  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "--events mqtt:// needs paho-mqtt, which is not installed: in reid's checkout, pip install '.[events]'",
            name="paho",
        ) from None


class Mqtt:
    """Publishes the JSON of events. See :class:`reid_toolkit.live.events.sender.Transport`.

    After an error it connects anew. ``SSL_CERT_FILE`` names other certificates to trust than the system's.
    """

    def __init__(
        self, host: str, port: int, topic: str, *, secure: bool, user: str | None, password: str | None
    ) -> None:
        self._place, self._topic, self._secure, self._user, self._password = (host, port), topic, secure, user, password
        self._client: Client | None = None
        self._changed = threading.Condition()
        self._connected = self._over = False
        self._why = ""
        self._confirmed: set[int] = set()

    def send(self, key: str, body: bytes) -> None:
        """Publish an event, and wait until the broker has confirmed it."""
        try:
            client = self._client or self._connect()
            number = client.publish(self._topic, body, qos=1).mid
            self._wait(lambda: number in self._confirmed, "no confirmation")
            self._confirmed.clear()
        except UnsentError:
            self.close()
            raise
        except (OSError, ValueError, RuntimeError) as error:
            self.close()
            raise UnsentError(first_line(error)) from None

    def _connect(self) -> "Client":
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        if self._user is not None:
            client.username_pw_set(self._user, self._password)
        if self._secure:
            client.tls_set()
        client.connect_timeout = LIMIT_SECONDS
        client.on_connect, client.on_disconnect, client.on_publish = self._on_connect, self._on_end, self._on_publish
        self._client, self._connected, self._over, self._why = client, False, False, ""
        self._confirmed.clear()
        client.connect(*self._place, keepalive=KEEP_ALIVE_SECONDS)
        client.loop_start()
        self._wait(lambda: self._connected, "no answer to the connection")
        return client

    def _wait(self, done: Any, what: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: done() or self._over, LIMIT_SECONDS)
            if not done():
                raise UnsentError(self._why or f"{what} in {LIMIT_SECONDS:g} s")

    def _on_connect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        with self._changed:
            self._connected = not reason.is_failure
            if reason.is_failure:
                self._over, self._why = True, f"the broker refuses the connection: {reason}"
            self._changed.notify()

    def _on_end(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        with self._changed:
            self._over, self._why = True, self._why or f"the connection ended: {reason}"
            self._changed.notify()

    def _on_publish(self, _: Any, __: Any, number: int, ___: Any, ____: Any) -> None:
        with self._changed:
            self._confirmed.add(number)
            self._changed.notify()

    def interrupt(self) -> None:
        """End the wait of a :meth:`send`."""
        with self._changed:
            self._over, self._why = True, "the watch ends"
            self._changed.notify()

    def close(self) -> None:
        """Leave the broker."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(OSError, ValueError, RuntimeError):
                client.disconnect()
            client.loop_stop()
