"""A box without PyTorch can look at people and correct them."""

import json
import subprocess
import sys
from pathlib import Path

from drawn_site import Site

from reid_toolkit.gallery import Gallery
from reid_toolkit.people.update import update

PROGRAM = """
import json
import sys
sys.modules["torch"] = None  # as if it were not installed
sys.modules["scipy"] = None
from reid_toolkit.cli import main
ended = []
for words in json.loads(sys.argv[1]):
    try:
        main(["people", *words])
    except SystemExit as end:
        ended.append(end.code)
print(json.dumps(ended))
"""


def test_all_but_grouping_works_without_torch(site: Site, gallery: Gallery, tmp_path: Path) -> None:
    update(gallery)
    gallery.close()
    where = str(tmp_path / "g")
    commands = [
        ["list", where],
        ["count", where, "--by", "day,camera"],
        ["show", where, "person-000001", "--html", str(tmp_path / "p.html")],
        ["routes", where, "--html", str(tmp_path / "r.html")],
        ["name", where, "person-000001", "Ana"],
        ["not", where, "Ana", "person-000002"],
        ["same", where, "Ana", "person-000003"],
        ["corrections", where],
        ["forget", where, "Ana", "--yes"],
        [where, "--anew"],
    ]
    program = [sys.executable, "-c", PROGRAM, json.dumps(commands)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    ended = json.loads(done.stdout.splitlines()[-1])
    assert ended == [0] * (len(commands) - 1) + [1], done.stderr
    assert "this command needs torch, which is not installed" in done.stderr
