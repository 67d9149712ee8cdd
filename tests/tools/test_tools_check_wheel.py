"""The check of what distributions hold, on archives made here."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "check_wheel.py"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a package, a link to a folder of data, and files that are not shipped."""
    for name in ("reid_toolkit/__init__.py", "models/a.toml", "models/README.md", "README.md", ".ci/run"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "reid_toolkit" / "recipes").symlink_to("../models")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "--all"], cwd=tmp_path, check=True)
    return tmp_path


def check(checkout: Path, package: Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, TOOL, package], cwd=checkout, capture_output=True, text=True)
    assert not done.stderr
    return done.returncode, done.stdout


def wheel(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return path


def sdist(path: Path, *names: str) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(f"reid_toolkit-1/{name}"))
    return path


def test_a_wheel_holds_the_package_and_the_data_behind_links(checkout: Path) -> None:
    path = checkout.parent / "reid_toolkit-1-py3-none-any.whl"
    whole = ["reid_toolkit/__init__.py", "reid_toolkit/recipes/a.toml", "reid_toolkit-1.dist-info/METADATA"]
    assert check(checkout, wheel(path, *whole))[0] == 0
    status, said = check(checkout, wheel(path, *whole[:1], "reid_toolkit/secret.env", "tests/test_a.py"))
    assert status == 1
    assert said.splitlines() == [
        f"{path.name}: reid_toolkit/recipes/a.toml is missing",
        f"{path.name}: reid_toolkit/secret.env should not be there",
        f"{path.name}: tests/test_a.py should not be there",
    ]


def test_a_source_distribution_holds_the_checkout(checkout: Path) -> None:
    path = checkout.parent / "reid_toolkit-1.tar.gz"
    whole = [
        "reid_toolkit/__init__.py",
        "reid_toolkit/recipes/a.toml",
        "models/a.toml",
        "models/README.md",
        "README.md",
    ]
    assert check(checkout, sdist(path, *whole, "PKG-INFO", "setup.cfg"))[0] == 0
    status, said = check(checkout, sdist(path, *whole[:-1]))
    assert (status, said.splitlines()) == (1, [f"{path.name}: README.md is missing"])
