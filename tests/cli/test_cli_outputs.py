"""A place where nothing can be written is found before the work, and not after it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reid_toolkit.cli.paths import CALIBRATION_FILE, LEAST_TIMES, PAGE, OutputFile, refuse_unwritable
from reid_toolkit.errors import InputError

COMMANDS = (
    ("calibrate", "{none}", "--model", "{none}", "--out", "{out}"),
    ("export", "{none}", "--dataset", "{none}", "--out", "{out}"),
    ("report", "{none}", "--device", "cpu", "--out", "{out}"),
    ("evaluate", "{none}", "{none}", "--html", "{out}"),
    ("search", "{none}", "--gallery", "{none}", "--html", "{out}"),
    ("gallery", "forget", "{none}", "--like", "{none}", "--top-k", "1", "--html", "{out}"),
)
"""With nothing there that the work would begin with."""


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_every_command_looks_first(command: tuple[str, ...], reid, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    out = tmp_path / "file" / "below" / "out.file"
    error = reid(*(word.format(none=tmp_path / "none", out=out) for word in command)).error
    assert f"{out}: cannot be written" in error
    assert "choose another path" in error
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_place_that_can_be_written_stays_as_it_is(tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_text("old")
    for path in (old, tmp_path / "new.json", tmp_path / "a" / "b" / "new.json", Path("new.json")):
        refuse_unwritable(path)
    assert old.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe")
    for path, why in (
        (tmp_path / "file" / "a.json", "Not a directory|is not a folder"),
        (tmp_path / "nowhere" / "a.json", "is not a folder"),
        (tmp_path / ("x" * 300 + ".json"), "File name too long"),
        (tmp_path / ("x" * 240 + ".json"), "File name too long"),  # with what the temporary name adds
        (tmp_path / ("x" * 300) / "a.json", "File name too long"),
        (tmp_path / "pipe", "not a file"),
        (Path("/dev/null"), "not a file"),  # which would be replaced
        (tmp_path, "not a file"),
    ):
        with pytest.raises(InputError, match=why):
            refuse_unwritable(path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "nowhere", "pipe"]


def test_a_report_replaces_only_a_page(reid, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("what somebody made")
    said = reid("report", tmp_path, "--device", "cpu", "--out", manifest).error
    assert f"{manifest}: exists and is not an HTML page" in said
    assert manifest.read_text() == "what somebody made"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    program = (
        "import os, sys, reid_toolkit.files\nfrom pathlib import Path\n"
        "from reid_toolkit.cli.paths import refuse_unwritable\n"
        "os.seteuid(65534); refuse_unwritable(Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "a" / "b.json"], capture_output=True, text=True)
    assert "b.json: cannot be written (Permission denied): choose another path" in done.stderr


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("calibrate", "{none}", "--model", "{none}", "--out", "{out}"), "a calibration"),
        (("people", "routes", "{none}", "--out", "{out}"), "a file of least times"),
        (("evaluate", "{none}", "{none}", "--html", "{out}"), "an HTML page"),
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize(
    "content", ["tracklet,camera\n", "\n" * 100 + "what somebody wrote"], ids=["manifest", "blank"]
)
def test_only_a_file_of_the_same_kind_is_replaced(
    words: tuple[str, ...], kind: str, content: str, reid, tmp_path: Path
) -> None:
    out = tmp_path / "manifest.csv"
    out.write_text(content)
    error = reid(*(word.format(none=tmp_path / "none", out=out) for word in words)).error
    assert f"{out}: exists and is not {kind}" in error
    assert out.read_text() == content


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (PAGE, "\n<!DOCTYPE html>"),
        (CALIBRATION_FILE, '{\n "format": "reid-calibration-1",'),
        (LEAST_TIMES, "from,to,seconds\n"),
        (PAGE, ""),
    ],
)
def test_an_older_one_and_an_empty_file_are_replaced(kind: OutputFile, content: str, tmp_path: Path) -> None:
    (tmp_path / "old").write_text(content)
    kind.refuse(tmp_path / "old")
