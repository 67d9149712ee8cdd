"""The files that the page loads: its style, its scripts and its icon. Their address holds a digest of them all."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
DIGITS = 12


class StaticFile(NamedTuple):
    """A file as it is sent."""

    content: bytes
    media_type: str


@cache
def static_files() -> dict[str, StaticFile]:
    """All files by their names, read once."""
    folder = files("reid_toolkit.service.pages") / "static"
    found = {one.name: one for one in folder.iterdir() if one.name[one.name.rfind(".") :] in TYPES}
    return {name: StaticFile(found[name].read_bytes(), TYPES[name[name.rfind(".") :]]) for name in sorted(found)}


@cache
def version() -> str:
    """A digest of all files. Scripts import each other by name, so all change their address together."""
    digest = hashlib.sha256()
    for name, one in static_files().items():
        digest.update(f"{name}\n{len(one.content)}\n".encode() + one.content)
    return digest.hexdigest()[:DIGITS]
