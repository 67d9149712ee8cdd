"""Frigate's HTTP API: requests, login, and trying again for a limited time."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPResponse
from typing import IO, Any
from urllib.parse import urlencode, urlsplit

from reid_toolkit.errors import DownloadError, InputError
from reid_toolkit.files import parse_json
from reid_toolkit.version import __version__

DEFAULT_PORT = 5000
"""Frigate's port without login."""
PATIENCE = 30.0
"""Seconds without an answer after which a request has failed."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds between two tries of a request. Each pause is twice the one before."""
LARGEST = 64 << 20
"""Bytes. No event list and no snapshot is larger."""
TRANSIENT = frozenset({429, 500, 502, 503, 504})
"""Statuses of a server that may answer later."""
REFUSED = frozenset({401, 403})


class UnansweredError(DownloadError):
    """A request got no answer, or only transient errors, for as long as it was tried."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, because the login would be sent to the new address."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Called by urllib for each redirect."""
        fp.close()
        raise DownloadError(
            f"{req.full_url.partition('?')[0]}: redirects to {newurl.partition('?')[0]}: give the address that Frigate "
            "itself has"
        )


def base_of(address: str) -> str:
    """The address before ``/api``: ``frigate://HOST[:PORT]`` is http, with port 5000 if none is given.

    Raises :class:`InputError` for another address, and for one that holds a password.
    """
    if "@" in address:  # checked first, because other messages show the address
        raise InputError("Frigate's address must not hold a user and password: give --user and REID_FRIGATE_PASSWORD")
    try:
        parts = urlsplit(address if "://" in address else f"frigate://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:  # an open bracket, or a port that is none
        host = None
    if not host or parts.scheme not in ("frigate", "http", "https") or parts.query or parts.fragment or " " in address:
        raise InputError(
            f"{address}: expected Frigate's address, such as frigate://192.168.1.20:5000 or https://host:8971"
        )
    if parts.scheme != "frigate":
        return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    named = f"[{host}]" if ":" in host else host
    return f"http://{named}:{port or DEFAULT_PORT}{parts.path.rstrip('/')}"


class FrigateClient:
    """Asks one Frigate."""

    def __init__(
        self,
        address: str,
        user: str | None = None,
        password: str | None = None,
        *,
        retry_seconds: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``retry_seconds``: for how long a request is tried again that was not answered, or with a transient error.

        Raises :class:`InputError` for an address that is none, and for a user without a password or the other way.
        """
        if (user is None) != (password is None):
            raise InputError("a user of Frigate without a password, or the other way: expected both or none")
        self.base = base_of(address)
        self.login = (user, password) if user is not None else None
        self.retry_seconds, self.sleep = retry_seconds, sleep
        self.token = ""
        self.opener = urllib.request.build_opener(NoRedirect)

    def get_json(self, path: str, **query: object) -> Any:
        """The JSON at ``/api`` + ``path``. Raises :class:`DownloadError` as :meth:`get` does, and for other content."""
        content = self.get(path, **query)
        if content is None:
            raise DownloadError(f"{self.base}/api{path}: not found: expected Frigate's address")
        try:
            return parse_json(content)
        except ValueError:
            raise DownloadError(f"{self.base}/api{path}: answers without JSON: expected Frigate's address") from None

    def get(self, path: str, **query: object) -> bytes | None:
        """The content at ``/api`` + ``path``; None if there is none (404).

        Raises :class:`DownloadError` as :meth:`fetch` does, and for other statuses.
        """
        status, content = self.fetch(path, query)
        if status not in (200, 404):
            raise DownloadError(f"{self.base}/api{path}: Frigate answers {status}: expected 200")
        return content if status == 200 else None

    def fetch(self, path: str, query: Mapping[str, object], *, again: bool = True) -> tuple[int, bytes]:
        """Status and content at ``/api`` + ``path``. ``again``: whether a request that fails is tried again.

        Raises :class:`DownloadError` if Frigate refuses the login, and :class:`UnansweredError` if it cannot be reached
        within the time limit or has only transient errors.
        """
        address = f"{self.base}/api{path}" + (f"?{urlencode(query)}" if query else "")
        status, content, _ = self.ask(address, again=again)
        if status in REFUSED and self.login is not None:
            self.log_in()
            status, content, _ = self.ask(address, again=again)
        if status in REFUSED:
            raise self.refused(status)
        return status, content

    def log_in(self) -> None:
        """Get a token. Raises :class:`DownloadError` if the user or the password is refused."""
        user, password = self.login or ("", "")
        self.token = ""
        body = json.dumps({"user": user, "password": password}).encode()
        status, _, headers = self.ask(f"{self.base}/api/login", body)
        token = headers.get("set-cookie", "").partition(";")[0].partition("=")[2]  # the name can be configured
        if status != 200 or not token:
            raise self.refused(status)
        self.token = token

    def refused(self, status: int) -> DownloadError:
        """The error of a login that is missing or wrong."""
        if self.login is None:
            return DownloadError(
                f"{self.base}: Frigate asks for a login ({status}): give --user and set REID_FRIGATE_PASSWORD"
            )
        return DownloadError(f"{self.base}: Frigate refuses the user {self.login[0]!r} or the password ({status})")

    def ask(
        self, address: str, body: bytes | None = None, *, again: bool = True
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, content and headers of an answer. With ``again``, what may pass is tried until the time limit."""
        until, pause = time.monotonic() + (self.retry_seconds if again else 0), FIRST_PAUSE
        while True:
            try:
                status, content, headers = self.ask_once(address, body)
                if status not in TRANSIENT:
                    return status, content, headers
                why = f"answers {status}"
            except (OSError, HTTPException) as error:
                why = f"cannot be reached ({reason(error)})"
            if time.monotonic() + pause > until:
                raise UnansweredError(
                    f"{shown(address)}: Frigate {why}, also after {self.retry_seconds:g} s of trying: check the "
                    "address and the network, then run this again to continue"
                )
            self.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def ask_once(self, address: str, body: bytes | None) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, content and headers of one try."""
        headers = {"User-Agent": f"reid/{__version__}", "Accept-Encoding": "identity"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(address, data=body, headers=headers)
        try:
            response: HTTPResponse = self.opener.open(request, timeout=PATIENCE)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, b"", {}
        except UnicodeError:
            raise DownloadError(
                f"{shown(address)}: cannot be the name of a host: expected an address such as http://nvr.local:5000"
            ) from None
        with response:
            content = response.read(LARGEST + 1)
            if len(content) > LARGEST:
                raise DownloadError(
                    f"{shown(address)}: sends more than {LARGEST >> 20} MiB: expected Frigate's address"
                )
            promised = response.headers.get("Content-Length", "")
            if promised.isdecimal() and len(content) != int(promised):
                raise HTTPException(f"cut off after {len(content)} of {promised} bytes")
            items = reversed(response.headers.items())  # of two headers with one name, the first counts
            return response.status, content, {name.lower(): value for name, value in items}


def shown(address: str) -> str:
    """An address for a message, without its query."""
    return address.partition("?")[0]


def reason(error: Exception) -> str:
    """The system's message for an error."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if "CERTIFICATE_VERIFY_FAILED" in str(cause):
        return "its certificate is not trusted: set SSL_CERT_FILE to a copy of the certificate"
    said = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return " ".join(said.split()) or type(cause).__name__
