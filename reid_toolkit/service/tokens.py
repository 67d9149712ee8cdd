"""The file of tokens. It holds the name and role of each, and a digest of the token: the token itself is shown once.

A token is 32 random bytes, so a plain SHA-256 protects it: unlike a password, it cannot be guessed from its digest.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from reid_toolkit.errors import InputError, did_you_mean
from reid_toolkit.files import atomic_path, locked, parse_json

ROLES = ("search", "review", "admin")
"""Each may do what the one before may, and more."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
PREFIX = "reid_"
"""The beginning of each token, by which a scanner for leaked secrets can recognise it."""
FILE = "tokens.json"
"""The name of the file in the gallery's folder."""
WAIT = 10.0
"""Seconds for which a change waits for another change."""


@dataclass(frozen=True)
class Token:
    """What the file holds of a token."""

    name: str
    role: str
    digest: str
    """SHA-256 of the token, as hex."""
    made: float
    """Unix time."""


def digest_of(token: str) -> str:
    """The digest under which a token is stored."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def read_tokens(path: Path) -> tuple[Token, ...]:
    """The tokens of a file, in the order in which they were made. None if there is no file.

    Raises :class:`InputError` if the file is damaged, or if other users of this machine may read or write it.
    """
    try:
        with open(path, encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read()
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InputError(f"{path}: the file of tokens cannot be read: {why}") from None
    if os.name == "posix" and mode & 0o077:
        raise InputError(
            f"{path}: other users of this machine may read or write the file of tokens (mode {mode & 0o777:o}): "
            f"expected mode 600: run `chmod 600 {path}`"
        )
    try:
        tokens = tuple(Token(**entry) for entry in parse_json(content)["tokens"])
        if not all(isinstance(one.digest, str) and one.role in ROLES and NAME.fullmatch(one.name) for one in tokens):
            raise ValueError
    except (ValueError, TypeError, KeyError):
        raise InputError(
            f"{path}: not a file of tokens, or a damaged one: expected what `reid serve token add` writes: move it "
            "away, and make the tokens again"
        ) from None
    return tokens


def find_token(tokens: Sequence[Token], given: str) -> Token | None:
    """The entry of a token. Compares with each entry in constant time."""
    digest = digest_of(given)
    found = None
    for token in tokens:
        if hmac.compare_digest(token.digest, digest):
            found = token
    return found


def add_token(path: Path, name: str, role: str) -> str:
    """Make a token, and return it. Raises :class:`InputError` for a wrong or used name or an unknown role."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"token name {name!r}: expected 1 to 64 letters, digits and ._@- (a letter or digit first), such as "
            "'front-desk'"
        )
    if role not in ROLES:
        raise InputError(f"role {role!r}{did_you_mean(role, ROLES)}: expected one of {', '.join(ROLES)}")
    with changing(path):
        tokens = read_tokens(path)
        if any(one.name == name for one in tokens):
            raise InputError(f"{path}: a token is called {name!r} already: revoke it first, or choose another name")
        token = PREFIX + secrets.token_urlsafe(32)
        write_tokens(path, (*tokens, Token(name, role, digest_of(token), round(time.time(), 3))))
    return token


def revoke_token(path: Path, name: str) -> Token:
    """Delete a token. A running service refuses it from its next request on. Raises :class:`InputError` if there is
    no token of that name."""
    with changing(path):
        tokens = read_tokens(path)
        found = next((one for one in tokens if one.name == name), None)
        if found is None:
            known = [one.name for one in tokens]
            raise InputError(
                f"{path}: no token is called {name!r}{did_you_mean(name, known)}: expected one of "
                f"{', '.join(known) or 'none, because it has none'}"
            )
        write_tokens(path, tuple(one for one in tokens if one is not found))
    return found


def write_tokens(path: Path, tokens: Sequence[Token]) -> None:
    """Replace the file, with mode 600."""
    content = json.dumps({"format": 1, "tokens": [asdict(one) for one in tokens]}, indent=1).encode() + b"\n"
    with atomic_path(path) as temporary:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "wb") as file:
            file.write(content)


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """Let one process at a time change the file, so that no token is lost."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + WAIT
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(path.with_name(f".{path.name}.lock")))
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise InputError(f"{path}: another process is changing the tokens: run this again") from None
                time.sleep(0.05)
        yield


class TokenFile:
    """The tokens as a running service knows them. It reads the file again when it has changed."""

    def __init__(self, path: Path | None) -> None:
        """``path`` is the file, None for no tokens. Raises what :func:`read_tokens` raises."""
        self._path, self._seen = path, (0, 0, 0)
        self._tokens: tuple[Token, ...] = ()
        self.refresh()

    @property
    def there(self) -> bool:
        """Whether the file was there when it was last looked for. A file without tokens is what is left when the last
        one is revoked."""
        return self._seen != (0, 0, 0)

    def refresh(self) -> tuple[Token, ...]:
        """The tokens now. Raises what :func:`read_tokens` raises."""
        if self._path is None:
            return ()
        try:
            about = os.stat(self._path)
            now = about.st_ino, about.st_mtime_ns, about.st_size
        except OSError:
            now = 0, 0, 0
        if now != self._seen or now == (0, 0, 0):
            self._tokens, self._seen = read_tokens(self._path), now
        return self._tokens
