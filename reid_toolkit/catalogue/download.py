"""Download files: continue where a download broke off, never accept more bytes than expected, and verify the file."""

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

from reid_toolkit.catalogue.cache import cannot_be_written
from reid_toolkit.catalogue.entries import Entry, File
from reid_toolkit.errors import DownloadError, InputError
from reid_toolkit.files import sync_folder
from reid_toolkit.version import __version__

CHUNK = 1 << 16
PATIENCE = 30.0
"""A server that sends nothing for so many seconds counts as unreachable."""

OnBytes = Callable[[int], None]
"""Called with the number of bytes so far."""


class UnreachableError(DownloadError):
    """The server cannot be reached. The file may still be fetched in another way."""


class NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from https to another protocol."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Called by urllib for each redirect."""
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in allowed:
            fp.close()
            raise DownloadError(
                f"{req.full_url}: redirects to {newurl}, which is not safe to follow: expected {' or '.join(allowed)}"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_mirror(mirror: str) -> str:
    """The address of a mirror without the slash at its end. Raises :class:`InputError` unless it is http or https."""
    if "@" in mirror:  # checked first, because other messages show the address
        raise InputError("the address of a mirror must not hold a user and password: expected a mirror without login")
    try:
        parts = urlsplit(mirror)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an open bracket, or a port that is none
        right = False
    if not right or parts.query or parts.fragment:
        raise InputError(f"{mirror}: expected the address of a mirror, such as https://models.example.org/reid")
    return mirror.rstrip("/")


def address_of(entry: Entry, file: File, mirror: str | None) -> str:
    """The address of a file: at its publisher, or at a mirror, which has the same layout as the cache."""
    return f"{mirror}/{quote(entry.name)}/{quote(file.name)}" if mirror else file.address


def fetch_files(
    entry: Entry, folder: Path, mirror: str | None, on_bytes: OnBytes, on_wrong: Callable[[Path], None]
) -> None:
    """Download all files of a model into ``folder``.

    A file that is already there is used if it is the file of the catalogue. Else ``on_wrong`` is called with its path,
    and it is replaced. ``on_bytes`` counts the bytes of all files. Raises what :func:`download` raises.
    """
    before = 0
    for file in entry.files:
        target = folder / file.name
        if not verified(target, file):
            if target.exists():
                on_wrong(target)
                target.unlink()
            try:
                download(address_of(entry, file, mirror), file, target, partial(count, on_bytes, before))
            except UnreachableError as error:
                missing = [one.address for one in entry.files if not (folder / one.name).exists()]
                if mirror is None:
                    missing[0] = "it"  # the message begins with its address
                raise DownloadError(
                    f"{error}: to continue without a network, fetch {' and '.join(missing)} elsewhere, put "
                    f"{'it' if len(missing) == 1 else 'them'} into {folder}, and run this again"
                ) from None
        before += file.bytes


def count(on_bytes: OnBytes, before: int, done: int) -> None:
    """Report ``done`` bytes of a file that follows ``before`` bytes of other files."""
    on_bytes(before + done)


def verified(path: Path, file: File) -> bool:
    """Whether the file exists and has the size and digest of the catalogue."""
    try:
        with open(path, "rb") as handle:
            return (
                os.fstat(handle.fileno()).st_size == file.bytes
                and hashlib.file_digest(handle, file.algorithm).hexdigest() == file.digest
            )
    except FileNotFoundError:
        return False


def download(address: str, file: File, target: Path, on_bytes: OnBytes) -> None:
    """Download ``address`` to ``target``, which appears only when it is complete and verified.

    An incomplete download is kept as ``target`` + ".part", and the next call continues it. Proxies are taken from the
    environment.

    Raises:
        DownloadError: the server cannot be reached, does not have the file, or sends another file. A good part is kept.
        InputError: the file cannot be written.
    """
    part = target.with_name(target.name + ".part")
    try:
        have = part.stat().st_size if part.exists() else 0
        if have > file.bytes:
            have = 0
        if have < file.bytes:
            fetch(address, file, part, have, on_bytes)
        if not verified(part, file):
            part.unlink()
            raise DownloadError(
                f"{address}: is not the file of the catalogue (its {file.algorithm} differs), so it was deleted: run "
                "this again; if that does not help, the server or a proxy sends another file"
            )
        with open(part, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(part, target)
    except OSError as error:
        raise cannot_be_written(target, error) from None
    sync_folder(target.parent)


def fetch(address: str, file: File, part: Path, have: int, on_bytes: OnBytes) -> None:
    """Download the rest of ``part``, which has ``have`` bytes already."""
    response = ask(address, have)
    if have and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        if response.status == 206:  # the server sends another part than requested
            response.close()
            response = ask(address, 0)
        have = 0  # the server cannot continue: it sends the whole file
    with response:
        promised = response.headers.get("Content-Length", "")
        if promised.isdecimal() and have + int(promised) != file.bytes:
            raise other_size(address, file, f"{have + int(promised)}")
        with open(part, "ab" if have else "wb") as handle:
            on_bytes(have)
            while chunk := read(response, address):
                if have + len(chunk) > file.bytes:
                    handle.truncate(0)
                    raise other_size(address, file, "more")
                handle.write(chunk)
                have += len(chunk)
                on_bytes(have)
    if have < file.bytes:
        raise DownloadError(
            f"{address}: was cut off after {have} of {file.bytes} bytes: run this again to continue from there"
        )


def ask(address: str, have: int) -> HTTPResponse:
    """Request the file without its first ``have`` bytes, and give the server's response."""
    headers = {"User-Agent": f"reid/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    opener = urllib.request.build_opener(NoDowngrade)
    try:
        response: HTTPResponse = opener.open(urllib.request.Request(address, headers=headers), timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:
            return ask(address, 0)
        kind = DownloadError if error.code in (404, 410) else UnreachableError
        raise kind(f"{address}: the server answers {error.code} {error.reason}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise UnreachableError(f"{address}: cannot be reached ({reason(error)})") from None
    return response


def read(response: HTTPResponse, address: str) -> bytes:
    """The next bytes of a response. Empty at its end."""
    try:
        return response.read1(CHUNK)
    except (OSError, HTTPException) as error:
        raise DownloadError(
            f"{address}: was cut off ({reason(error)}): run this again to continue from there"
        ) from None


def reason(error: Exception) -> str:
    """The system's message for an error."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    said = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return " ".join(said.split()) or type(cause).__name__


def other_size(address: str, file: File, got: str) -> DownloadError:
    """The error for a file that is not as long as the catalogue says."""
    return DownloadError(
        f"{address}: sends {got} bytes, expected {file.bytes} bytes by the catalogue: a login page, or another version "
        "of the file, may be at this address"
    )
