"""Paths of objects behave as paths of files, and errors of the store say what is wrong."""

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import aiohttp
import fsspec
import pytest
from fsspec.implementations.http import HTTPFileSystem
from storage_helpers import command, put
from waiting import wait_until

from reid_toolkit.errors import InputError, MissingDependencyError, StorageError
from reid_toolkit.files import natural_order, remove_folder, write_atomic
from reid_toolkit.footage.sources import object_at
from reid_toolkit.storage import StoredPath, is_stored, path_of, store
from reid_toolkit.storage import path as paths
from reid_toolkit.storage.store import file_system
from reid_toolkit.storage.temporary import temporary_folder
from reid_toolkit.storage.transfer import download


def test_objects_have_the_names_and_folders_of_files(bucket: StoredPath, tmp_path: Path) -> None:
    for name in ("a/b[1].txt", "a/c d/e.txt", "a/c d/10.txt", "a/c d/9.txt", "a/.hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    put(tmp_path, bucket)
    for root in (tmp_path, bucket):
        folder = root / "a"
        assert sorted(path.name for path in folder.iterdir()) == [".hidden", "b[1].txt", "c d"]
        assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["c d"]
        found = [path.relative_to(root).as_posix() for path in root.rglob("*.txt")]
        assert sorted(found) == ["a/b[1].txt", "a/c d/10.txt", "a/c d/9.txt", "a/c d/e.txt"]
        assert [path.name for path in folder.glob("[!.]*.txt")] == ["b[1].txt"]
        assert [path.name for path in sorted((folder / "c d").glob("*.txt"), key=natural_order)] == [
            "9.txt", "10.txt", "e.txt",
        ]  # fmt: skip
        path = folder / "c d" / "e.txt"
        assert (path.name, path.stem, path.suffix, path.parent) == ("e.txt", "e", ".txt", folder / "c d")
        assert (path.is_file(), path.is_dir(), path.exists(), path.stat().st_size) == (True, False, True, 11)
        assert (folder.is_file(), folder.is_dir(), (root / "none").exists()) == (False, True, False)
        assert path.read_bytes() == b"a/c d/e.txt"
        with (folder / "b[1].txt").open("rb") as handle:
            handle.seek(2)
            assert handle.read() == b"b[1].txt"
        assert (folder / "../x").resolve() == root / "x"
        assert path.is_relative_to(folder)
        assert not path.is_relative_to(root / "b")
        assert pickle.loads(pickle.dumps(path)) == path
        with pytest.raises(FileNotFoundError) as caught:
            (root / "none").read_bytes()
        assert caught.value.filename == str(root / "none")
        (folder / "b[1].txt").unlink()
        remove_folder(folder / "c d")
        assert [path.name for path in folder.iterdir()] == [".hidden"]
    assert str(bucket / "a" / "b") == f"{bucket}/a/b"


def test_paths_of_this_machine_stay_plain(tmp_path: Path) -> None:
    assert type(path_of(str(tmp_path))) is type(tmp_path)
    assert type(path_of("rtsp://camera/1")) is type(tmp_path)  # FFmpeg's own address
    assert not is_stored(tmp_path)
    with pytest.raises(InputError, match="'': expected a path or an address"):
        path_of("")  # else the working folder
    with pytest.raises(InputError, match=r"s3:///: names no bucket: expected an address such as s3://bucket/people"):
        path_of("s3:///")
    with pytest.raises(InputError, match=r"https://cam/x: a web address with a password"):
        path_of("https://ann:secret@cam/x")


def test_what_is_wrong_with_a_store_is_one_line(bucket: StoredPath, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match=r"s3://nobucket/a: .*bucket does not exist: expected the name of a bucket"):
        path_of("s3://nobucket/a").exists()
    with pytest.raises(StorageError, match="expected the name of a bucket that exists"):
        write_atomic(path_of("s3://nobucket/a"), b"x")
    with monkeypatch.context() as patch:
        patch.setattr(bucket.fs, "info", refuse)
        with pytest.raises(StorageError, match=r"/a: Forbidden: expected credentials that may do this"):
            (bucket / "a").exists()
    with pytest.raises(InputError, match="a web address can only be read"):
        write_atomic(path_of("https://host/a"), b"x")


def refuse(*_: object, **__: object) -> None:
    raise PermissionError("Forbidden")


@pytest.mark.parametrize(
    ("without", "address", "said"),
    [
        (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), None, "expected credentials, for S3 in AWS_ACCESS_KEY_ID"),
        ((), "http://127.0.0.1:9", "is the store's address right (for S3, AWS_ENDPOINT_URL)?"),
    ],
)
def test_a_store_that_cannot_be_used_ends_a_command_with_one_line(
    server: None, without: tuple[str, ...], address: str | None, said: str, model: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name in without:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    unusable = fsspec.filesystem("s3", endpoint_url=address, skip_instance_cache=True)
    unusable.retries = 1  # of s3fs, which else waits some seconds for a store to come back
    monkeypatch.setattr(paths, "file_system", lambda protocol: unusable)
    for arguments in (("embed", "s3://bucket/x", "--out", "out"), ("enroll", "s3://bucket/x", "--gallery", "gallery")):
        status, line = command(*arguments, "--model", model)
        assert status == 1
        assert line.startswith("error: s3://bucket/x: ")
        assert said in line
        assert line.count("\n") == 1
    status, lines = command("ingest", "s3://bucket/x", "--out", tmp_path / "out")
    assert status == 1
    assert said in lines.splitlines()[-1]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    file_system.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"pip install '\.\[storage\]' gcsfs"):
        path_of("gs://bucket/people")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingDependencyError, match=r"s3:// needs fsspec and s3fs, .*pip install '\.\[storage\]'$"):
        path_of("s3://bucket/people")
    assert object_at("https://host/hall.mp4") is None, "FFmpeg plays it as a stream then"


class Slow(BaseHTTPRequestHandler):
    """Sends a byte now and then, or stops in the middle of a file."""

    stops = False

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        with suppress(OSError):  # the client has left
            for _ in range(6):
                self.wfile.write(b"x")
                self.wfile.flush()
                self.server.going_on.wait(60 if self.stops else 0.2)  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def slow_server() -> Iterator[str]:
    """The address of a file on a server that is slow. Nothing is remembered of other servers."""
    web = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    web.going_on = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=web.serve_forever).start()
    file_system.cache_clear()
    HTTPFileSystem.clear_instance_cache()
    yield f"http://127.0.0.1:{web.server_port}/hall.mp4"
    web.going_on.set()  # type: ignore[attr-defined]
    web.shutdown()
    web.server_close()
    file_system.cache_clear()
    HTTPFileSystem.clear_instance_cache()


def test_a_download_may_last_longer_than_aiohttp_allows(
    slow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiohttp.client.DEFAULT_TIMEOUT", aiohttp.ClientTimeout(total=0.5))  # it is 5 minutes
    path = path_of(slow_server)
    assert is_stored(path)
    download([(path, tmp_path / "hall.mp4")])
    assert (tmp_path / "hall.mp4").read_bytes() == b"xxxxxx"


def test_settings_of_fsspec_for_web_servers_stay(slow_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fsspec.config.conf, "https", {"client_kwargs": {"trust_env": True}})
    used = file_system("https").client_kwargs
    assert (used["trust_env"], used["timeout"].total) == (True, None)


def test_a_server_that_stops_sending_is_given_up(
    slow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slow, "stops", True)
    assert store.web_options()["client_kwargs"]["timeout"].sock_read == 60
    impatient = {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=None, sock_read=0.2)}}
    monkeypatch.setattr(store, "web_options", lambda: impatient)
    path = path_of(slow_server)
    assert is_stored(path)
    with pytest.raises(StorageError, match=r"hall\.mp4: .*[Tt]imeout.*: is the address right, and can the server and"):
        download([(path, tmp_path / "hall.mp4")])


def test_a_temporary_folder_goes_even_if_its_process_is_killed(tmp_path: Path) -> None:
    with temporary_folder() as folder:
        (folder / "file").write_text("x")
    assert not folder.exists()
    script = "from reid_toolkit.storage.temporary import temporary_folder as t\nwith t() as f:\n print(f, flush=True)\n"
    waiting = [sys.executable, "-c", script + " (f / 'x').write_text('x')\n input()"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        waiting, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        inside = Path(process.stdout.readline().strip())
        assert inside.is_relative_to(tmp_path)
        process.kill()
    wait_until(lambda: not list(tmp_path.iterdir()))
