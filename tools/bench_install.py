"""Measures what an install downloads, and how large it is afterwards: the edge install and the base install.

    python tools/bench_install.py --out install.json

Each install goes into a new virtual environment in a temporary folder. Run it in the checkout; it needs the package
registry, and a compiler for hnswlib.
"""

import argparse
import platform
import shutil
import subprocess
import tempfile
import venv
from pathlib import Path

from machine import origin, save

EDGE = ("./tools/edge/onnxruntime-gpu", "./tools/edge/opencv-python")
INSTALLS = {
    "edge": (*EDGE, "."),
    "edge_watch_serve": (*EDGE, ".[footage,events,serve]"),
    "base": (".",),
}
"""Name -> what pip installs."""
LARGEST = 6
"""How many of the largest packages are named."""


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def measure(what: tuple[str, ...], work: Path) -> dict[str, object]:
    """Download and install ``what`` in a new environment, and say how large both are, in bytes."""
    downloads, place = work / "downloads", work / "venv"
    venv.create(place, with_pip=True)
    pip = [str(place / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    empty = size_of(place)
    # pip keeps a local package that it downloads as an archive of its folder, which is no download
    subprocess.run([*pip, "download", "--dest", downloads, *what], check=True)
    fetched = [
        file for file in downloads.iterdir() if not file.name.startswith("reid_toolkit") and "9999" not in file.name
    ]
    subprocess.run([*pip, "install", *what], check=True)
    (site,) = place.glob("lib/python*/site-packages")
    sizes = {path.name: size_of(path) for path in site.iterdir() if path.is_dir()}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:LARGEST]
    versions = {file.name.split("-")[0]: file.name.split("-")[1] for file in fetched}
    return {
        "downloaded": sum(file.stat().st_size for file in fetched),
        "files": len(fetched),
        "installed": size_of(place) - empty,
        "largest": {name: sizes[name] for name in largest},
        "versions": versions,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--installs", nargs="+", choices=INSTALLS, default=list(INSTALLS))
    parser.add_argument("--out", type=Path, required=True, help="JSON")
    given = parser.parse_args()
    results = {}
    for name in given.installs:
        work = Path(tempfile.mkdtemp(prefix="reid-install-"))
        try:
            results[name] = measure(INSTALLS[name], work)
        finally:
            shutil.rmtree(work)
        print(f"{name:18} {results[name]['downloaded'] / 1e6:7.1f} MB down  {results[name]['installed'] / 1e6:7.1f} MB")
    document = {
        **origin(platform.freedesktop_os_release()["PRETTY_NAME"]),
        "python": platform.python_version(),
        "unit": "bytes; installed: without the empty virtual environment",
        "installs": results,
    }
    save(given.out, document)


if __name__ == "__main__":
    main()
