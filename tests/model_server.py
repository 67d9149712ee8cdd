"""A server on loopback that offers files, well or badly, and a proxy before it."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener


@dataclass
class Offer:
    """What is at each path, and how it is given."""

    files: dict[str, bytes]
    ranges: bool = True
    """Whether it goes on in the middle; else it begins again."""
    odd_ranges: bool = False
    """Whether it gives another part than it was asked for."""
    cut_after: int | None = None
    """Bytes of the body after which it hangs up, once."""
    untold: bool = False
    """Whether it leaves out how long the body is."""
    behind: bytes = b""
    """What it sends beyond the file."""
    status: int | None = None
    """Instead of any file."""
    redirects: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Paths, and the ranges that were asked for."""
    address: str = ""


@contextmanager
def serving(offer: Offer) -> Iterator[str]:
    """The address at which it is served."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            offer.asked.append((self.path, wanted))
            if self.path in offer.redirects:
                self.send_response(302)
                self.send_header("Location", offer.redirects[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if offer.status or self.path not in offer.files:
                self.send_error(offer.status or 404)
                return
            content = offer.files[self.path]
            match = re.fullmatch(r"bytes=(\d+)-", wanted)
            start = int(match[1]) if match and offer.ranges else 0
            start = 0 if offer.odd_ranges else start
            self.send_response(206 if match and offer.ranges else 200)
            if match and offer.ranges:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            body = content[start:] + offer.behind
            if not offer.untold:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if offer.cut_after is not None:
                body, offer.cut_after = body[: offer.cut_after], None
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with running(Handler) as address:
        offer.address = address
        yield address


@contextmanager
def proxying(seen: list[str]) -> Iterator[str]:
    """The address of a forward proxy, which notes what it was asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            assert urlsplit(self.path).hostname == "models.example"
            port = urlsplit(self.path).port
            with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}{urlsplit(self.path).path}") as found:
                body = found.read()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with running(Handler) as address:
        yield address


@contextmanager
def running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
