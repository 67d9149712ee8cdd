"""Checks that a wheel and a source distribution hold what they should: no file more, and none less.

    python tools/check_wheel.py dist/reid_toolkit-0.1.0-py3-none-any.whl dist/reid_toolkit-0.1.0.tar.gz

Compared is the list of files that git has. Run it in the checkout that was built.
"""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

PACKAGE = "reid_toolkit/"
ADDED = re.compile(r"reid_toolkit-[^/]+\.dist-info/|[^/]+/(PKG-INFO|setup\.cfg|reid_toolkit\.egg-info/)")
"""What building adds."""
NOT_SHIPPED = re.compile(r"reid_toolkit/.*\.md|\.ci/|\.git|Containerfile|deploy/|\.dockerignore|mkdocs\.yml")
"""Files of the checkout that no distribution needs."""


def files_of_git() -> set[str]:
    """The files in git. A link to a folder stands for the files in it."""
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.split("\n")
    found = set()
    for name in filter(None, listed):
        path = Path(name)
        if path.is_symlink() and path.is_dir():
            found |= {f"{name}/{inside.name}" for inside in path.iterdir()}
        else:
            found.add(name)
    return found


def files_of(package: Path) -> set[str]:
    """The files of a distribution, as they are called in the checkout."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as archive:
            return {name for name in archive.namelist() if not name.endswith("/") and not ADDED.match(name)}
    with tarfile.open(package) as archive:
        names = [member.name for member in archive.getmembers() if member.isfile()]
    return {name.partition("/")[2] for name in names if not ADDED.match(name)}


def problems(package: Path) -> list[str]:
    """What is missing, and what should not be there."""
    expected = {name for name in files_of_git() if not NOT_SHIPPED.match(name)}
    if package.suffix == ".whl":
        expected = {name for name in expected if name.startswith(PACKAGE)}
    found = files_of(package)
    return [f"{package.name}: {name} is missing" for name in sorted(expected - found)] + [
        f"{package.name}: {name} should not be there" for name in sorted(found - expected)
    ]


def main(packages: list[str]) -> int:
    wrong = [problem for package in packages for problem in problems(Path(package))]
    print("\n".join(wrong) or f"{len(packages)} distributions hold what git has")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
