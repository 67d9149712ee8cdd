import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reid_toolkit import files
from reid_toolkit.files import atomic_path, link_atomic, parse_json, write_atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_is_written_as_utf8_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "name.txt"
    write_atomic(path, "caméra\r\n")
    assert path.read_bytes() == b"cam\xc3\xa9ra\r\n"
    write_atomic(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert names(path.parent) == ["name.txt"]


@pytest.mark.parametrize("content", ["", "{", b"\xff", "[" * 100_000, b'{"a":' * 100_000])
def test_what_is_no_json_is_a_value_error(content: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"Expecting|can't decode|nested too deeply"):
        parse_json(content)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path, error: type) -> None:
    path = tmp_path / "name.txt"
    path.write_text("old")

    def write_half() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("ne")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["name.txt"]


def test_the_temporary_file_is_beside_the_target_hidden_and_of_its_kind(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "picture.png") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".png"
        temporary.write_bytes(b"x")


def test_nothing_is_seen_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "name.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"


def test_content_is_on_the_disk_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    replace, fsync = os.replace, os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("replace"), replace(a, b)))
    write_atomic(tmp_path / "name.txt", "new")
    assert done == ["fsync", "replace", "fsync"], "the file, and then the folder that names it"


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "name.txt"
    path.write_text("old")
    program = (
        "import sys, time, pathlib\n"
        "from reid_toolkit.files import atomic_path\n"
        "with atomic_path(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('ne')\n"
        "    print('half', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half\n"
        writer.send_signal(signal.SIGKILL)
    assert path.read_text() == "old"
    write_atomic(path, "new")
    assert path.read_text() == "new"


def test_a_link_replaces_and_stays_when_the_other_name_goes(tmp_path: Path) -> None:
    source, path = tmp_path / "a.txt", tmp_path / "b.txt"
    source.write_text("new")
    path.write_text("old")
    for _ in range(2):  # once more: both are one file already
        link_atomic(source, path)
        assert names(tmp_path) == ["a.txt", "b.txt"]
    assert path.samefile(source)
    source.unlink()
    assert path.read_text() == "new"


def test_a_link_is_a_copy_where_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    source, path = tmp_path / "a.txt", tmp_path / "b.txt"
    source.write_text("new")
    monkeypatch.setattr(os, "link", refuse)
    link_atomic(source, path)
    assert path.read_text() == "new"
    assert not path.samefile(source)


@pytest.mark.parametrize("at_once", [True, False], ids=["the file system at once", "one by one"])
def test_everything_in_a_folder_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    made = [tmp_path / "1.jpg", tmp_path / "a" / "b" / "2.jpg"]
    for path in made:
        path.write_bytes(b"crop")
    synced: set[int] = set()
    monkeypatch.setattr(files.os, "fsync", lambda handle: synced.add(os.fstat(handle).st_ino))
    if at_once:
        if not files.sync_file_system(tmp_path):
            pytest.skip("this system cannot sync a file system")
    else:
        monkeypatch.setattr(files, "sync_file_system", lambda folder: False)
    files.sync_below(tmp_path)
    every = {path.stat().st_ino for path in (tmp_path, tmp_path / "a", tmp_path / "a" / "b", *made)}
    assert synced == (set() if at_once else every)
