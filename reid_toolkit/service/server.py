"""Runs the service: one socket, bounded connections, and a graceful stop."""

import asyncio
import errno
import logging
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from reid_toolkit.errors import InputError
from reid_toolkit.service.settings import Settings

GRACE = 10
"""Seconds for answers to be finished after the service was told to stop."""
HEAD_BYTES = 1 << 14
"""Of a request's line and headers."""


class Unhurried(H11Protocol):
    """uvicorn's protocol, which also gives up on clients that do not send their headers."""

    head_seconds = 10.0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Expect the headers of the first request."""
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Stop waiting if the headers are complete, and wait for those of the next request."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._stop_waiting()
        elif self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _expect(self) -> None:
        self._timer = self.loop.call_later(self.head_seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises :class:`InputError` if the port is taken, or the address is not this machine's."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError, OverflowError):
        raise InputError(f"--host {host}: no such address: expected an address of this machine") from None
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            why = "is taken by another program: choose another with --port, or stop that program"
        elif error.errno == errno.EADDRNOTAVAIL:
            why = "is no address of this machine: choose another --host"
        else:
            why = f"cannot be used: {error.strerror}"
        raise InputError(f"{host}:{port} {why}") from None
    listener.setblocking(False)
    return listener


class Server(uvicorn.Server):
    """uvicorn's server, which tells streams to end when it is told to stop."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        limits = settings.limits
        protocol = type("Protocol", (Unhurried,), {"head_seconds": limits.head_seconds})
        super().__init__(
            uvicorn.Config(
                app, http=protocol, ws="none", lifespan="on", loop="asyncio", log_config=None, access_log=False,
                server_header=False, date_header=True, proxy_headers=False, limit_concurrency=limits.connections,
                h11_max_incomplete_event_size=HEAD_BYTES, timeout_keep_alive=max(1, round(limits.head_seconds)),
                timeout_graceful_shutdown=GRACE,
            )
        )  # fmt: skip
        self._state = app.state
        for noisy in ("uvicorn", "python_multipart"):  # what clients send wrongly is no news
            logging.getLogger(noisy).setLevel(logging.ERROR)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop taking requests, finish those that run, and end streams."""
        self._state.context.stopping = True
        super().handle_exit(sig, frame)


def serve(app: FastAPI, settings: Settings, listener: socket.socket) -> None:
    """Answer requests until SIGTERM or Ctrl-C. Answers that have begun are finished first."""
    server = Server(app, settings)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn raises the signal again after the stop
        pass
    finally:
        listener.close()
