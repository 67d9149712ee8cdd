"""Questions that nobody answers, and names that stdout cannot write."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reid_toolkit.cli import main
from reid_toolkit.cli.console import counted
from reid_toolkit.gallery import Gallery
from reid_toolkit.records import Record

ASKING = (("forget", "--camera", "door"), ("purge", "--older-than", "2026-01-01"), ("retention", "30d"))
"""Each would delete or hide the one record."""


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    with Gallery.open(tmp_path / "g", dimension=4) as held:
        held.add(np.eye(4, dtype=np.float32)[:1], [Record("t", "door", 1.6e9, 1.6e9)])
    return tmp_path / "g"


def assert_nothing_was_done(gallery: Path, error: str) -> None:
    lines = error.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert "nothing was done" in lines[-1]
    assert "--yes" in lines[-1]
    assert "Traceback" not in error
    with Gallery.open(gallery, create=False) as held:
        assert (len(held), held.retention) == (1, None)


@pytest.mark.parametrize("command", ASKING)
def test_the_end_of_stdin_is_no_answer(gallery: Path, command, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(*_: object) -> str:
        raise EOFError

    monkeypatch.setattr("click.termui.visible_prompt_func", end)
    with pytest.raises(SystemExit) as stop:
        main(["gallery", command[0], str(gallery), *command[1:]])
    assert stop.value.code == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert_nothing_was_done(gallery, shown.err)


@pytest.mark.parametrize("stdin", ["/dev/null", "closed", "maybe\n", "\\377\n"])
def test_nor_is_a_closed_one_or_one_without_sense(gallery: Path, stdin: str) -> None:
    reid = f"{sys.executable} -m reid_toolkit gallery forget {gallery} --camera door"
    line = {"closed": f"{reid} <&-", "/dev/null": f"{reid} </dev/null"}.get(stdin, f"printf '{stdin}' | {reid}")
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert_nothing_was_done(gallery, done.stderr)


def test_ctrl_c_at_a_question_says_that_nothing_was_done(
    gallery: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("click.termui.visible_prompt_func", interrupt)
    with pytest.raises(SystemExit) as stop:
        main(["gallery", "forget", str(gallery), "--camera", "door"])
    assert stop.value.code == 130
    assert "interrupted: nothing was done" in capsys.readouterr().err
    with Gallery.open(gallery, create=False) as held:
        assert len(held) == 1


@pytest.mark.parametrize(("count", "said"), [(0, "0 crops"), (1, "1 crop"), (2, "2 crops"), (12_936, "12,936 crops")])
def test_numbers_of_things(count: int, said: str) -> None:
    assert counted(count, "crop") == said


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_name_that_stdout_cannot_write_does_not_end_a_command(
    encoding: str, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tiny_dataset.with_name(os.fsdecode("人".encode() + b"\xff"))
    tiny_dataset.rename(odd)
    said = []
    for options in ((), ("--json",)):
        held = io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(held, encoding, errors="strict", write_through=True))
            with pytest.raises(SystemExit) as stop:
                main(["dataset", "check", str(odd), *options])
        assert stop.value.code == 0
        said.append(held.getvalue().decode(encoding))
    name = "人\\udcff" if encoding == "utf-8" else "\\u4eba\\udcff"
    assert said[0].endswith(f"{name}: 12 tracklets, 48 crops can be read\n")
    assert name in said[1]
    assert json.loads(said[1])["dataset"] == str(odd)
