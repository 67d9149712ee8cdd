"""Sends events by HTTP POST, each in a request of its own."""

import http.client
import socket
import ssl
import threading
from contextlib import suppress
from urllib.parse import urlsplit

from reid_toolkit.errors import first_line
from reid_toolkit.live.events.sender import RefusedError, UnsentError
from reid_toolkit.version import __version__

LIMIT_SECONDS = 10.0
"""The longest that a request may take, with its answer."""
MAY_PASS = (408, 429)
"""Answers of the class 4xx that may be different later. All others refuse the event for good."""


class Webhook:
    """Posts the JSON of events to an address. See :class:`reid_toolkit.live.events.sender.Transport`.

    It uses no proxy and follows no redirection: a redirected POST often becomes a GET. ``SSL_CERT_FILE`` names other
    certificates to trust than the system's.
    """

    def __init__(self, address: str, token: str | None) -> None:
        """``token`` is sent as ``Authorization: Bearer``."""
        parts = urlsplit(address)
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname or "", parts.port
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._context = ssl.create_default_context() if self._secure else None
        self._headers = {"Content-Type": "application/json", "User-Agent": f"reid/{__version__}"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._connection: http.client.HTTPConnection | None = None

    def send(self, key: str, body: bytes) -> None:
        """Post an event, with its key in the header ``Idempotency-Key``. Any answer of the class 2xx confirms it."""
        self._connection = connection = self._connect()
        # A timeout of the socket begins anew with each byte that a slow server sends.
        watchdog = threading.Timer(LIMIT_SECONDS, self.interrupt)
        watchdog.daemon = True
        watchdog.start()
        try:
            connection.request("POST", self._target, body, {**self._headers, "Idempotency-Key": key})
            status = connection.getresponse().status
        except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: a name that DNS cannot hold
            raise UnsentError(first_line(error)) from None
        finally:
            watchdog.cancel()
            connection.close()
        if 200 <= status < 300:
            return
        if 400 <= status < 500 and status not in MAY_PASS:
            raise RefusedError(f"it answered with status {status}")
        moved = ", a redirection: give the address that it leads to" if 300 <= status < 400 else ""
        raise UnsentError(f"it answered with status {status}{moved}")

    def _connect(self) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(self._host, self._port, timeout=LIMIT_SECONDS, context=self._context)
        return http.client.HTTPConnection(self._host, self._port, timeout=LIMIT_SECONDS)

    def interrupt(self) -> None:
        """Break the connection of a request that is under way."""
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Do nothing, because each request has a connection of its own."""
