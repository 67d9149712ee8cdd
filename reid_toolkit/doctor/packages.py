"""Looks at installed packages by their metadata, without importing them: versions, and builds that overwrite others."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

OURS = "reid-toolkit"


@dataclass(frozen=True)
class Family:
    """Distributions that write the same Python package, so that only one of them can be installed."""

    package: str
    start: str
    """How the distributions' names begin."""


FAMILIES = (Family("onnxruntime", "onnxruntime"), Family("cv2", "opencv"))


def family_of(name: str) -> Family | None:
    """The family of the distribution ``name``, if it has one."""
    return next((family for family in FAMILIES if name.startswith(family.start)), None)


@dataclass(frozen=True)
class Owner:
    """An installed distribution that contains a family's package."""

    name: str
    version: str
    damaged: tuple[str, ...]
    """Files that are missing or of another size than was installed."""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@cache
def installed() -> dict[str, metadata.Distribution]:
    """Every installed distribution by its normalised name. The first of two with one name counts, as in imports."""
    found: dict[str, metadata.Distribution] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(normalised(name), distribution)
    return found


def normalised(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def owners(family: Family) -> list[Owner]:
    """The installed distributions that contain the family's package. More than one overwrite each other.

    A distribution without files of the package is none: tools/edge has two of them, which stand for a larger build.
    """
    found = []
    for name, distribution in sorted(installed().items()):
        if not name.startswith(family.start):
            continue
        files = [file for file in distribution.files or () if file.parts[0] == family.package]
        if any(file.parts == (family.package, "__init__.py") for file in files):
            damaged = [str(file) for file in files if is_damaged(file)]
            found.append(Owner(name, distribution.version, tuple(damaged)))
    return found


def is_damaged(file: metadata.PackagePath) -> bool:
    """Whether a file of a package is missing, or has another size than it was installed with."""
    if file.suffix == ".pyc":
        return False
    try:
        size = Path(str(file.locate())).stat().st_size
    except OSError:
        return True
    return file.size is not None and file.size != size


def requirements(extra: str | None = None) -> list[Requirement] | None:
    """What reid's base install needs here, or what ``extra`` needs besides. None if the install does not say so."""
    try:
        ours = metadata.distribution(OURS)
    except metadata.PackageNotFoundError:
        return None
    if extra is not None and extra not in (ours.metadata.get_all("Provides-Extra") or ()):
        return None
    found = []
    for line in ours.requires or ():
        need = Requirement(line)
        always = need.marker is None or need.marker.evaluate({"extra": ""})
        if always if extra is None else (not always and need.marker and need.marker.evaluate({"extra": extra})):
            found.append(need)
    return found


def is_absent(need: Requirement) -> bool:
    """Whether neither the required distribution nor another build of it is installed."""
    family = family_of(normalised(need.name))
    return normalised(need.name) not in installed() and not (family is not None and owners(family))


def lacking(need: Requirement) -> str | None:
    """Why a requirement is not met, or None. Another build of the same package meets it, too."""
    if is_absent(need):
        return f"{need.name} is not installed"
    name = normalised(need.name)
    family = family_of(name)
    if family is not None and (held := owners(family)):
        return None if need.specifier.contains(held[0].version, prereleases=True) else f"{held[0]} is not {need}"
    distribution = installed()[name]
    if not need.specifier.contains(distribution.version, prereleases=True):
        return f"{need.name} {distribution.version} is not {need.specifier}"
    return None


def version_of(name: str) -> str | None:
    """The installed version of a distribution."""
    distribution = installed().get(normalised(name))
    return distribution.version if distribution else None


def versions(needs: Iterable[Requirement]) -> dict[str, str | None]:
    """Installed distribution -> version, of each requirement. For a family it is the build that is installed."""
    found: dict[str, str | None] = {}
    for need in needs:
        family = family_of(normalised(need.name))
        held = owners(family) if family is not None else []
        found |= {one.name: one.version for one in held} if held else {need.name: version_of(need.name)}
    return found
