"""The commands give the same from object storage, and into it, as from a folder and into one."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_yard import RedDetector, ScriptedDetector, draw_frame, write_video
from storage_helpers import command, contents, put

from reid_toolkit.datasets import open_dataset
from reid_toolkit.errors import DatasetError, StorageError, VideoError
from reid_toolkit.footage import stored_dataset
from reid_toolkit.footage.ingest import ingest
from reid_toolkit.footage.sources import open_recordings
from reid_toolkit.gallery import open_gallery
from reid_toolkit.parallel.pool import Pool, ThisProcess
from reid_toolkit.parallel.processes import Processes
from reid_toolkit.runtime import Embedder
from reid_toolkit.runtime.bulk.embedding import embed_crops
from reid_toolkit.runtime.engine import Engine
from reid_toolkit.search import enroll, units_of
from reid_toolkit.storage import StoredPath, path_of, temporary

run = partial(ingest, every=4, min_crops=2)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings in a folder."""
    folder = tmp_path_factory.mktemp("recordings")
    for shade, name in enumerate(("north", "south", "gate")):
        write_video(folder / f"{name}.avi", frames=28, shade=shade)
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this process's temporary folders. Each test sees that it is empty in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(temporary, "place_of", lambda process: folder)
    return folder


def test_descriptors_are_the_same_to_the_byte(
    tiny_dataset: Path, bucket: StoredPath, model: Path, tmp_path: Path, place: Path
) -> None:
    there = put(tiny_dataset, bucket / "people")
    (there / "crops" / "north-00-1.png").unlink()
    put(tiny_dataset, bucket / "torn")
    (bucket / "torn" / "crops" / "north-00-1.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"manifest.csv, row 3: 'crops/north-00-1.png': no such file"):
        open_dataset(there)
    (tiny_dataset / "crops" / "north-00-1.png").write_bytes(b"no picture")
    results = []
    for dataset, out, pool in (
        (tiny_dataset, tmp_path / "alone", None),
        (bucket / "torn", tmp_path / "read", ThisProcess()),
        (bucket / "torn", bucket / "vectors", Processes(2, 2)),
    ):
        report = embed_crops(open_dataset(dataset).crops, out, Engine(model), pool=pool, shard_size=7)
        assert (report.embedded, report.bad) == (47, 1)
        files = contents(out)
        assert files.pop("job.json"), "it holds a digest of the paths"
        results.append({name: data.replace(str(dataset).encode(), b"") for name, data in files.items()})
    assert results[0] == results[1] == results[2]
    assert set(results[2]) == {"descriptors.npy", "manifest.csv", "bad.csv", "report.json"}
    assert not list(place.iterdir())


def test_a_store_that_is_cut_off_makes_no_picture_bad(
    tiny_dataset: Path, bucket: StoredPath, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops = open_dataset(put(tiny_dataset, bucket / "people")).crops
    out = bucket / "vectors"
    real = bucket.fs.cat_file

    def cut_off(path: str, **options: object) -> bytes:
        if "south-1" in path:
            raise TimeoutError("no answer")
        return real(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(bucket.fs, "cat_file", cut_off)
        with pytest.raises(StorageError, match=r"south-1.*: no answer: .*Run the same command again to continue"):
            embed_crops(crops, out, Engine(model), shard_size=7)
    assert (out / "shards" / "000000.npz").exists()
    report = embed_crops(crops, out, Engine(model), shard_size=7)
    assert (report.embedded, report.bad) == (48, 0)
    assert not (out / "shards").exists()


def test_records_are_the_same(tiny_dataset: Path, bucket: StoredPath, model: Path, tmp_path: Path) -> None:
    results = []
    for number, dataset in enumerate((tiny_dataset, put(tiny_dataset, bucket / "people"))):
        embedder = Embedder(model)
        with open_gallery(str(tmp_path / f"gallery{number}"), embedder.dimension, embedder.fingerprint) as store:
            enroll(store, embedder, list(units_of(dataset)), thumbnails=True)
            results.append([
                (one.tracklet, one.camera, one.start, one.thumbnail, vector.tobytes(),
                 one.source.replace(str(dataset), ""), one.image.replace(str(dataset), ""))
                for records, vectors in store.records()
                for one, vector in zip(records, vectors, strict=True)
            ])  # fmt: skip
    assert results[0] == results[1]
    assert len(results[0]) == 12


@pytest.mark.parametrize("workers", [None, 2])
def test_recordings_become_the_same_dataset(
    recordings: Path, bucket: StoredPath, tmp_path: Path, place: Path, workers: int | None
) -> None:
    away = put(recordings, bucket / "recordings")
    pool: Pool | None = Processes(workers, 2) if workers else None
    run = partial(ingest, every=4, min_crops=2, detector="motion" if workers else RedDetector())
    run([recordings], tmp_path / "folder")
    wanted = contents(tmp_path / "folder")
    for out in (bucket / "set",) if workers else (tmp_path / "set", bucket / "set"):
        report = run([str(away)], out, pool=pool)
        assert (report.videos, report.frames) == (3, 84)
        found = contents(out)
        assert sorted(found["manifest.csv"].splitlines()) == sorted(wanted["manifest.csv"].splitlines())
        assert {**found, "manifest.csv": b"", "ingest.json": b""} == {**wanted, "manifest.csv": b"", "ingest.json": b""}
        assert workers or found["manifest.csv"] == wanted["manifest.csv"]
        if not workers:
            assert run([str(away)], out).skipped == 3
            assert run([recordings], out).skipped == 3, "copies of them"
    assert not list(place.iterdir())


class Killed(BaseException):
    """Ends a process at a certain moment."""


def test_killed_at_any_moment_a_dataset_is_whole(
    recordings: Path, bucket: StoredPath, tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [recordings / "north.avi"]
    entered = partial(run, clips, detector=RedDetector())
    entered(tmp_path / "folder")
    wanted = contents(tmp_path / "folder")
    for after in range(1, 5):  # changes of objects other than crops: lock, entry, manifest, journal
        out = bucket / f"set{after}"
        changes: list[str] = []
        for name in ("write_bytes", "unlink"):
            monkeypatch.setattr(StoredPath, name, dying(getattr(StoredPath, name), changes, after))
        with pytest.raises(Killed):
            entered(out)
        monkeypatch.undo()
        assert (out / "manifest.csv").exists() == (after > 2)
        assert (out / "crops").exists(), "crops come before everything that names them"
        report = entered(out)
        assert report.skipped == (after > 1), "its crops were all there; only its entry was missing"
        assert {**contents(out), "ingest.json": b""} == {**wanted, "ingest.json": b""}
        assert not (out / ".entering").exists()
    assert not list(place.iterdir())


def dying(change: Callable[..., None], changes: list[str], after: int) -> Callable[..., None]:
    def changed(path: StoredPath, *arguments: object, **options: object) -> None:
        if len(changes) == after:
            raise Killed
        changes.append(str(path))
        change(path, *arguments, **options)

    return changed


def test_a_recording_that_is_replaced_never_has_a_name_of_before(
    recordings: Path, bucket: StoredPath, tmp_path: Path, place: Path
) -> None:
    names = []
    for content in ("north", "south", "gate"):
        (tmp_path / "hall.avi").write_bytes((recordings / f"{content}.avi").read_bytes())
        run([tmp_path / "hall.avi"], bucket / "set", detector=RedDetector(), replace=True)
        names += {crop.recording for crop in open_dataset(bucket / "set").crops}
    assert names == ["hall", "hall-2", "hall-3"]


def test_a_second_process_stops_the_first(recordings: Path, bucket: StoredPath, place: Path) -> None:
    with stored_dataset.open_place(bucket / "set") as store:
        run([recordings / "north.avi"], bucket / "set")
        with pytest.raises(DatasetError, match=r"another process began to change this dataset \(a process that has"):
            store.commit(recordings, [], {"name": "gate", "crops": 0})
    assert {crop.recording for crop in open_dataset(bucket / "set").crops} == {"north"}


def test_what_a_process_lists_while_a_second_one_begins_is_not_lost(
    recordings: Path, bucket: StoredPath, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, detector = bucket / "set", RedDetector()
    run([recordings / "north.avi"], out, detector=detector)
    real = stored_dataset.StoredDataset.list_recording

    def meanwhile(store: stored_dataset.StoredDataset, *arguments: object) -> None:
        """A second process has read the lists before the first one writes them, and then writes its own."""
        lists = {name: (out / name).read_bytes() for name in ("manifest.csv", "ingest.json")}
        real(store, *arguments)
        (out / stored_dataset.LOCK).write_bytes(b"another machine, process 7 0123")
        for name, content in lists.items():
            (out / name).write_bytes(content)

    with monkeypatch.context() as patch:
        patch.setattr(stored_dataset.StoredDataset, "list_recording", meanwhile)
        with pytest.raises(DatasetError, match=r"another process began to change this dataset \(another machine"):
            run([recordings / "south.avi"], out, detector=detector)
    assert run([recordings / "south.avi"], out, detector=detector).skipped == 1
    assert {crop.recording for crop in open_dataset(out).crops} == {"north", "south"}


def test_a_recording_that_changes_while_it_is_read_is_left_for_the_next_call(
    recordings: Path, bucket: StoredPath, tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = put(recordings, bucket / "recordings")
    real = bucket.fs.get_file

    def replaced_meanwhile(source: str, target: str) -> None:
        real(source, target)
        (away / "north.avi").write_bytes((recordings / "south.avi").read_bytes())

    with monkeypatch.context() as patch:
        patch.setattr(bucket.fs, "get_file", replaced_meanwhile)
        report = run([str(away / "north.avi")], tmp_path / "set")
    assert (report.videos, len(report.waiting)) == (0, 1)
    assert run([str(away / "north.avi")], tmp_path / "set").videos == 1
    (away / "north.avi").write_bytes((recordings / "gate.avi").read_bytes())
    with pytest.raises(VideoError, match=r"/recordings/north.avi: has changed since it was ingested"):
        run([str(away / "north.avi")], tmp_path / "set")
    with monkeypatch.context() as patch:  # it goes while it is read
        patch.setattr(bucket.fs, "get_file", lambda *names: (real(*names), (away / "gate.avi").unlink()))
        bad: list[str] = []
        run([str(away / "gate.avi")], tmp_path / "set", bad=bad)
    assert bad == [f"{away}/gate.avi: gone while it was read"]
    (away / "north.avi").unlink()
    bad = []
    run([str(away / "north.avi"), str(away / "south.avi")], tmp_path / "set", bad=bad)
    assert bad == [f"{away}/north.avi: no such file or folder: expected a video, a folder of videos or frames"]
    assert not list(place.iterdir())


def test_frames_and_playlists_are_read_too(recordings: Path, bucket: StoredPath, tmp_path: Path, place: Path) -> None:
    folder = tmp_path / "sources"
    (folder / "frames").mkdir(parents=True)
    for number in range(40):
        cv2.imwrite(str(folder / "frames" / f"{number}.jpg"), draw_frame(number))
    (folder / "list").mkdir()
    (folder / "segment.avi").write_bytes((recordings / "south.avi").read_bytes())
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:3", "#EXTINF:3.0,", "../segment.avi", "#EXT-X-ENDLIST", ""]
    (folder / "list" / "hall.m3u8").write_text("\n".join(lines))
    away = put(folder, bucket / "sources")
    found = []
    for where in (folder, away):
        (frames,) = open_recordings([str(where / "frames")], 5.0)
        assert (frames.name, frames.frame_count) == ("frames", 40)
        pictures = [(frame.number, frame.time, frame.image.tobytes()) for frame in frames.frames()]
        assert len(pictures) == 40
        found.append(pictures)
    assert found[0] == found[1]
    files = open_playlist(away / "list" / "hall.m3u8")
    assert [path.name for path in files] == ["hall.m3u8", "segment.avi"]
    assert not list(place.iterdir())


def open_playlist(path: Path) -> tuple[Path, ...]:
    from reid_toolkit.footage.sources import playlist

    return playlist(path)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a web server of this folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    web = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=web.serve_forever).start()
    try:
        yield f"http://127.0.0.1:{web.server_port}"
    finally:
        web.shutdown()
        web.server_close()


def test_a_recording_on_a_web_server(recordings: Path, bucket: StoredPath, tmp_path: Path, place: Path) -> None:
    with served(recordings) as address:
        (one,) = open_recordings([f"{address}/north.avi"], 25.0)
        assert (one.kind, one.name, one.frame_count) == ("file", "north", 28)
        (same,) = open_recordings([str(recordings / "north.avi")], 25.0)
        for here, there in zip(same.frames(), one.frames(), strict=True):
            assert here.time == there.time
            np.testing.assert_array_equal(here.image, there.image)
    assert not list(place.iterdir())


def test_names_on_a_web_server_are_read_as_they_are_written(recordings: Path, tmp_path: Path) -> None:
    shutil.copy(recordings / "north.avi", tmp_path / "Süd tor.avi")
    ingest([tmp_path / "Süd tor.avi"], tmp_path / "people", detector=ScriptedDetector(), every=4, min_crops=2)
    crops = sorted((tmp_path / "people" / "crops").rglob("*.jpg"))
    shutil.copy(crops[0], tmp_path / "people" / "crops" / "50% #1?.jpg")
    here = open_dataset(tmp_path / "people")
    with served(tmp_path) as address:
        there = open_dataset(path_of(f"{address}/people/"))
        assert [one.name for one in there.tracklets] == [one.name for one in here.tracklets]
        assert "Süd" in str(there.crops[0].path)
        assert there.crops[0].path.read_bytes() == here.crops[0].path.read_bytes()
        plain = open_dataset(path_of(f"{address}/people/crops/"))  # a folder without a manifest
        named = {one.name for one in plain.tracklets}
        assert any(name.startswith("Süd") for name in named)
        assert all(crop.path.read_bytes() for crop in plain.crops)


def test_commands_take_addresses(recordings: Path, bucket: StoredPath, model: Path, tmp_path: Path) -> None:
    away = put(recordings, bucket / "recordings")
    for arguments in (
        ("ingest", away / "north.avi", "--out", bucket / "people", "--every", 4, "--min-crops", 2),
        ("embed", bucket / "people", "--model", model, "--out", bucket / "vectors"),
        ("enroll", bucket / "people", "--model", model, "--gallery", tmp_path / "gallery"),
    ):
        status, said = command(*arguments)
        assert status == 0, said
    assert (bucket / "vectors" / "descriptors.npy").exists()
    status, said = command("ingest", bucket / "none", "--out", bucket / "people")
    assert (status, said.splitlines()[-1]) == (
        1, f"error: {bucket}/none: no such file or folder: expected a video, a folder of videos or frames",
    )  # fmt: skip
    status, said = command("dataset", "show", bucket / "people")
    assert (status, said.count("\n")) == (2, 1)
    assert "is in object storage: expected a path on this machine" in said
    for name in ("embed", "enroll"):
        out = ("--out" if name == "embed" else "--gallery", tmp_path / "none")
        status, said = command(name, bucket / "none", "--model", model, *out)
        assert status == 1
        assert said.startswith(f"error: {bucket}/none: no such file or folder: expected a dataset")
