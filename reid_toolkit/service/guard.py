"""What every request must pass before anything else looks at it, and what every answer carries."""

import json
from ipaddress import ip_address
from socket import gethostname
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reid_toolkit.service.access import READING
from reid_toolkit.service.errors import Refusal
from reid_toolkit.service.settings import Settings, is_loopback

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
API = "/api/"


class Guard:
    """Middleware: refuses requests for another host and changes from another site, and adds the security headers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings
        self.names = {"localhost", *(name.lower().rstrip(".") for name in settings.allowed_hosts)}
        if not settings.loopback:
            self.names |= {gethostname().lower(), settings.host.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, and pass it on."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await refuse(refusal, sending)
            return
        await self.app(scope, receive, sending)

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._knows(hosts[0]):
            return Refusal(
                421, "this service is not known by that name: address it as localhost or by its IP address, or start "
                "it with --allowed-host NAME"
            )  # fmt: skip
        site = headers.get("sec-fetch-site", "")
        if site == "cross-site" and (scope["method"] not in READING or scope["path"].startswith(API)):
            return Refusal(403, "another site may not use this service", "wrong_origin")
        if scope["method"] not in READING and "origin" in headers and not same_origin(headers["origin"], hosts[0]):
            return Refusal(403, "another site may not use this service", "wrong_origin")
        return None

    def _knows(self, host: str) -> bool:
        name = host_name(host)
        if name is None:
            return False
        if name in self.names:
            return True
        if self.settings.loopback:
            return is_loopback(name)
        # No name can be made to mean another address here, so an address needs no list.
        return is_address(name)


def host_name(host: str) -> str | None:
    """The name in a Host header, without port. None if it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        if parts.netloc != host or parts.username is not None or parts.path or not parts.hostname:
            return None
        _ = parts.port  # raises if it is no number
        return parts.hostname.rstrip(".")
    except ValueError:
        return None


def is_address(name: str) -> bool:
    """Whether a name is an IP address."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def same_origin(origin: str, host: str) -> bool:
    """Whether a page of ``origin`` came from this service. Its scheme may differ, behind a proxy that speaks TLS."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https"):
        return False
    usual = {"http": ":80", "https": ":443"}[parts.scheme]
    return parts.netloc.lower().removesuffix(usual) == host.lower().removesuffix(usual)


class Answer:
    """Sends an answer, and knows whether it has begun: then no other answer can be given."""

    def __init__(self, send: Send) -> None:
        self._send, self.begun = send, False

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        self.begun = self.begun or message["type"] == "http.response.start"
        await self._send(message)


async def refuse(refusal: Refusal, send: Send) -> None:
    """Send the JSON of a refusal."""
    body = json.dumps(refusal.document).encode()
    headers: list[Any] = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in refusal.headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
