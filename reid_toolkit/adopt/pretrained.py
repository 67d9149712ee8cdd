"""Networks known by a name, whose weights are downloaded: those of Roboflow's package reid (Apache-2.0)."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from reid_toolkit.errors import InputError, MissingDependencyError, ModelError, did_you_mean

LONGEST = 900.0
"""Seconds that a download may take. Such files have 10 to 100 MB."""
STALLED = 20
"""Seconds without an answer after which a server counts as unreachable, if the library uses the socket's timeout."""
QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
CHILD = f"""
import contextlib, json, socket, sys
socket.setdefaulttimeout({STALLED})
found = {{}}
with contextlib.redirect_stdout(sys.stderr):
    try:
        from reid.loaders import resolve_weights
        found["path"] = resolve_weights(sys.argv[1])
    except Exception as error:
        while error.__cause__ or error.__context__:
            error = error.__cause__ or error.__context__
        found["error"] = f"{{type(error).__name__}}: {{error}}"
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Pretrained:
    """Weights that a third party has published."""

    name: str
    address: str
    """The address in the package's form: https://, hf:// or gd://."""

    @property
    def page(self) -> str:
        """An address that opens in a browser."""
        kind, _, rest = self.address.partition("://")
        if kind == "hf":
            from huggingface_hub import hf_hub_url

            owner, repository, file = rest.split("/", 2)
            return hf_hub_url(f"{owner}/{repository}", file)
        return f"https://drive.google.com/uc?id={rest.partition('/')[0]}" if kind == "gd" else self.address


def is_name(file: Path) -> bool:
    """Whether it may be a network's name: no such file exists, and it has neither a folder nor a suffix."""
    return not os.path.lexists(file) and re.fullmatch(r"[A-Za-z0-9_-]+", str(file)) is not None


def find(name: str) -> Pretrained:
    """Return the network with this name, or the only network whose name begins with it.

    Raises :class:`InputError` if no network or several have the name, :class:`MissingDependencyError` without the
    package.
    """
    try:
        from reid.catalog import ALIASES
    except ImportError:
        raise MissingDependencyError(
            f"{name}: no such file; to download a network by its name, Roboflow's package reid is needed, which cannot "
            "be imported: in reid's checkout, pip install '.[pretrained]'"
        ) from None
    known = {alias: card.weights for alias, card in ALIASES.items() if card.weights}
    begun = [alias for alias in sorted(known) if alias == name or alias.startswith(f"{name}_")]
    chosen = name if name in known else begun[0] if len(begun) == 1 else None
    if chosen is None:
        near = "" if begun else did_you_mean(name, known)
        raise InputError(
            f"{name}: no such file, and {'several networks begin so' if begun else 'no network of this name'}{near}: "
            f"expected a file, or one of {', '.join(begun or sorted(known))}"
        )
    return Pretrained(chosen, str(known[chosen]))


def fetch(weights: Pretrained) -> Path:
    """Return the file of these weights, from the package's cache or downloaded. Nothing in it is opened.

    Another process downloads it, because the libraries in use have no common time limit, and they print.

    Raises :class:`ModelError` if the download fails.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", CHILD, weights.address],
            capture_output=True, stdin=subprocess.DEVNULL, timeout=LONGEST, check=False, env=os.environ | QUIET,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise away(weights, f"not done after {LONGEST / 60:.0f} minutes") from None
    lines = done.stdout.decode(errors="replace").splitlines()
    if done.returncode or not lines:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or [""])[-1]
        raise away(weights, f"the process that fetches it ended with {done.returncode} {last[:200]}")
    answer = json.loads(lines[-1])
    if "error" in answer:
        raise away(weights, answer["error"])
    return Path(answer["path"])


def away(weights: Pretrained, why: str) -> ModelError:
    return ModelError(
        f"{weights.name}: cannot be fetched ({' '.join(why.split())[:200]}): fetch {weights.page} on "
        "another machine, and adopt that file: reid adopt FILE"
    )
