"""Who works on what, told by files in a folder that processes and machines share.

A claim only saves work: two who do the same piece write the same result, each whole. So nothing here needs a
lock server, machines' clocks may differ by seconds, and a network folder that answers late does no harm.
"""

import os
import secrets
import socket
import time
from contextlib import suppress
from pathlib import Path


class Claims:
    """The claims that one process makes in ``folder``, a file each: made by whoever creates it first.

    A claim is taken over when its process, on this machine, is gone, or when it was not renewed for
    ``stale_after`` seconds.
    """

    def __init__(self, folder: Path, stale_after: float) -> None:
        self.folder = folder
        self.stale_after = stale_after
        self.host = socket.gethostname()
        self.owner = f"{self.host} {os.getpid()} {secrets.token_hex(8)}"

    def path(self, name: str) -> Path:
        """The file of the claim on ``name``."""
        return self.folder / f"{name}.claim"

    def take(self, name: str) -> bool:
        """Claim ``name``, unless another holds it."""
        path = self.path(name)
        if self.is_stale(path):
            # Only one can rename it; who comes second finds it gone, or made anew.
            aside = path.with_name(f".{secrets.token_hex(8)}.stale")
            try:
                path.rename(aside)
            except FileNotFoundError:
                return False
            aside.unlink(missing_ok=True)
        try:
            with open(path, "x", encoding="utf-8") as handle:
                handle.write(self.owner)
        except (FileExistsError, FileNotFoundError):  # another was quicker; or the whole job is done and cleared away
            return False
        return True

    def is_stale(self, path: Path) -> bool:
        """Whether the claim is there and its owner seems to be gone."""
        try:
            age = time.time() - path.stat().st_mtime
            host, _, rest = path.read_text(encoding="utf-8", errors="replace").partition(" ")
        except FileNotFoundError:
            return False
        process = rest.partition(" ")[0]
        if host == self.host and process.isdecimal() and not is_alive(int(process)):
            return True
        return age > self.stale_after

    def renew(self, name: str) -> None:
        """Say that work on ``name`` goes on."""
        with suppress(FileNotFoundError):  # taken over, since this was too slow: the result will be the same
            os.utime(self.path(name))

    def drop(self, name: str) -> None:
        """Give up ``name``, if it is still ours."""
        path = self.path(name)
        with suppress(FileNotFoundError):
            if path.read_text(encoding="utf-8", errors="replace") == self.owner:
                path.unlink()


def is_alive(process: int) -> bool:
    """Whether this machine has a process of that number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
