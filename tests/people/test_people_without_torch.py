"""A box without PyTorch can look at people and correct them."""

import subprocess
import sys
from pathlib import Path

from drawn_site import Site

from reid_toolkit.gallery import Gallery
from reid_toolkit.people.update import update

PROGRAM = """
import sys
sys.modules["torch"] = None  # as if it were not installed
sys.modules["scipy"] = None
from reid_toolkit.cli import main
main(sys.argv[1:])
"""


def reid(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=False)


def test_all_but_grouping_works_without_torch(site: Site, gallery: Gallery, tmp_path: Path) -> None:
    update(gallery)
    gallery.close()
    where = str(tmp_path / "g")
    for words in (
        ["list", where],
        ["count", where, "--by", "day,camera"],
        ["show", where, "person-000001", "--html", str(tmp_path / "p.html")],
        ["routes", where, "--html", str(tmp_path / "r.html")],
        ["name", where, "person-000001", "Ana"],
        ["not", where, "Ana", "person-000002"],
        ["same", where, "Ana", "person-000003"],
        ["corrections", where],
        ["forget", where, "Ana", "--yes"],
    ):
        done = reid("people", *words)
        assert done.returncode == 0, (words, done.stderr)
    done = reid("people", where, "--anew")
    assert done.returncode == 1
    assert "this command needs torch, which is not installed" in done.stderr
