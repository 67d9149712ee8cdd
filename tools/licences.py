"""Lists the licences of everything that an installed reid depends on, as a table in Markdown.

    python tools/licences.py > docs/licences.md

Run it in an environment with all extras, such as that of the tests. Packages that are not installed cannot be listed;
they are named on stderr.
"""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NAME = "reid-toolkit"
DEVELOPMENT = {"test", "docs", "load", "studies", "plots"}
"""Extras for people who work on reid."""
LONGEST = 60
NOT_DECLARED = "not declared"
TEXTS = {"Apache License Version 2.0": "Apache-2.0", "MIT License": "MIT"}
"""How the texts of licences begin."""

HEAD = """# Licences

This page lists the packages that reid needs, with the licences that they declare. reid is under Apache-2.0. "For" names
the extras (`pip install '.[train]'`) that need a package; "base" means every install. Packages that only tests, studies
and this documentation need are left out. NVIDIA's packages come with PyTorch's CUDA build.

`python tools/licences.py > docs/licences.md` makes this page.

| package | version | licence | for |
|---|---|---|---|
"""


def direct() -> Iterator[tuple[Requirement, str]]:
    """Yield each requirement that reid has itself, with the extra that needs it ("base" for none)."""
    for text in distribution(NAME).requires or ():
        needed = Requirement(text)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", text)
        of = extra[1] if extra else "base"
        if of not in DEVELOPMENT and canonicalize_name(needed.name) != NAME:
            yield needed, of


def closure() -> tuple[dict[str, set[str]], set[str]]:
    """Return the extras by package, with what packages need in turn, and the packages that are not installed."""
    needed: dict[str, set[str]] = {}
    missing: set[str] = set()
    seen: set[tuple[str, str, str]] = set()
    left = list(direct())
    while left:
        requirement, of = left.pop()
        name = canonicalize_name(requirement.name)
        needed.setdefault(name, set()).add(of)
        found = installed(name)
        if found is None:
            missing.add(name)
            continue
        for extra in {"", *requirement.extras}:  # a package may be needed with extras of its own, as cuda-toolkit is
            if (name, extra, of) in seen:
                continue
            seen.add((name, extra, of))
            for text in found.requires or ():
                other = Requirement(text)
                if other.marker is None or other.marker.evaluate({"extra": extra}):
                    left.append((other, of))
    return {name: extras for name, extras in needed.items() if name not in missing}, missing


def installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def licence_of(found: Distribution) -> str:
    """The licence that a package declares: an SPDX expression, a classifier, or the beginning of a text.

    Without any of them, it is what the package's licence file begins with, if that is known.
    """
    said = found.metadata
    if said["License-Expression"]:
        return said["License-Expression"]
    classifiers = [
        line.rpartition(" :: ")[2] for line in said.get_all("Classifier") or () if line.startswith("License :: ")
    ]
    if classifiers:
        return ", ".join(sorted(set(classifiers)))
    first = (said["License"] or "").strip().splitlines()
    return first[0][:LONGEST] if first else licence_in_file(found) or NOT_DECLARED


def licence_in_file(found: Distribution) -> str:
    """The licence whose text the package carries. Empty if it carries none that is known."""
    for file in found.files or ():
        if ".dist-info" in file.parts[0] and file.name.upper().startswith("LICEN"):
            beginning = " ".join(file.read_text(encoding="utf-8").split())
            for text, licence in TEXTS.items():
                if beginning.startswith(text):
                    return licence
    return ""


def main() -> None:
    needed, missing = closure()
    print(HEAD, end="")
    for name in sorted(needed):
        found = distribution(name)
        extras = "base" if "base" in needed[name] else ", ".join(sorted(needed[name]))
        print(f"| {name} | {found.version} | {licence_of(found).replace('|', '/')} | {extras} |")
    if missing:
        print(f"not installed, so not listed: {', '.join(sorted(missing))}", file=sys.stderr)


if __name__ == "__main__":
    main()
