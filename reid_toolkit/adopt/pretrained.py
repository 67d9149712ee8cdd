"""Networks that are known by a name, and whose weights are fetched: those of Roboflow's package reid (Apache-2.0)."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from reid_toolkit.errors import InputError, MissingDependencyError, ModelError, did_you_mean

LONGEST = 900.0
"""Seconds that fetching may take; such files have 10 to 100 MB."""
STALLED = 20
"""Seconds without an answer after which a server counts as away, where the library asks the socket."""
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
    """Weights that somebody has published."""

    name: str
    address: str
    """As the package has it: https://, hf:// or gd://."""

    @property
    def page(self) -> str:
        """An address that a browser understands."""
        kind, _, rest = self.address.partition("://")
        if kind == "hf":
            from huggingface_hub import hf_hub_url

            owner, repository, file = rest.split("/", 2)
            return hf_hub_url(f"{owner}/{repository}", file)
        return f"https://drive.google.com/uc?id={rest.partition('/')[0]}" if kind == "gd" else self.address


def is_name(file: Path) -> bool:
    """Whether it may name a network: nothing of that name is there, and it has neither folder nor suffix."""
    return not os.path.lexists(file) and re.fullmatch(r"[A-Za-z0-9_-]+", str(file)) is not None


def find(name: str) -> Pretrained:
    """The network of this name, or the one whose name goes on from it.

    Raises :class:`InputError` for a name of none or of several, :class:`MissingDependencyError` without the package.
    """
    try:
        from reid.catalog import ALIASES
    except ImportError:
        raise MissingDependencyError(
            f"{name}: no such file; to fetch a network by its name, Roboflow's package reid is needed, which cannot be "
            "imported: in reid's checkout, pip install '.[pretrained]'"
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
    """The file of these weights, from the package's cache or from the net; nothing in it is opened.

    It is fetched by another process, since the libraries in use have no common limit of time, and print.

    Raises :class:`ModelError` where it cannot be had.
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
    found = json.loads(lines[-1])
    if "error" in found:
        raise away(weights, found["error"])
    return Path(found["path"])


def away(weights: Pretrained, why: str) -> ModelError:
    return ModelError(
        f"{weights.name}: cannot be fetched ({' '.join(why.split())[:200]}): fetch {weights.page} on "
        "another machine, and adopt that file: reid adopt FILE"
    )
