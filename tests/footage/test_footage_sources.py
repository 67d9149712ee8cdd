"""What a user may name, and what it is taken for."""

import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from drawn_clip import write_clip
from drawn_yard import draw_frame, write_video

from reid_toolkit.errors import VideoError
from reid_toolkit.files import natural_order
from reid_toolkit.footage.frames import Recording
from reid_toolkit.footage.sources import find_sources, open_recordings, playlist
from reid_toolkit.records import without_password


def opened(*names: object) -> list[Recording]:
    return open_recordings([str(name) for name in names], 10.0)


def pictures(count: int, shade: int = 0) -> list[np.ndarray]:
    return [draw_frame(number) + np.uint8(shade) for number in range(count)]


@pytest.mark.parametrize(
    "name", ["2026-11-22T14:30:00.avi", "-dash.avi", "a?b=c#d%20e.avi", "rtsp:x.avi", "vid\udce9o.avi"],
    ids=["a colon", "a dash", "signs of addresses", "a protocol", "no UTF-8"],
)  # fmt: skip
def test_a_name_is_a_name_whatever_it_looks_like(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    os.rename(video, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (name, tmp_path / name, tmp_path.as_uri() + "/" + "".join(f"%{b:02x}" for b in os.fsencode(name))):
        (recording,) = opened(path)
        assert not recording.is_stream
        assert len(list(recording.frames())) == 50
        recording.name.encode()  # it names cameras and tracklets, which are stored as UTF-8


def test_numbers_in_names_are_ordered_by_value(tmp_path: Path) -> None:
    for number in (1, 2, 10, 9, 100):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), np.full((8, 8, 3), number, np.uint8))
    (recording,) = opened(tmp_path)
    assert [int(frame.image[0, 0, 0]) for frame in recording.frames()] == [1, 2, 9, 10, 100]
    names = ["cam2-9.avi", "cam2-10.avi", "cam10-1.avi", "Cam2-9.avi", "cam02-9.avi"]
    assert [path.name for path in sorted(map(Path, names), key=natural_order)] == [
        "Cam2-9.avi", "cam02-9.avi", "cam2-9.avi", "cam2-10.avi", "cam10-1.avi",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "form"),
    [("b.MTS", "mpegts"), ("b.dav", "h264"), ("b.m2ts", "mpegts"), ("b.hevc", "hevc"), ("b.264", "h264"),
     ("b.3gp", "3gp"), ("b.vob", "vob"), ("b.mjpeg", "mjpeg"), ("b.ogv", "ogg")],
)  # fmt: skip
def test_every_kind_that_can_be_decoded_is_taken_from_a_folder(tmp_path: Path, name: str, form: str) -> None:
    codec = {"hevc": "libx265", "mjpeg": "mjpeg", "vob": "mpeg2video", "ogg": "libtheora"}.get(form, "libx264")
    if codec not in av.codecs_available and codec != "mjpeg":
        codec = "mpeg4" if form in ("mpegts", "3gp") else pytest.skip(f"PyAV has no encoder {codec} here")
    with av.open(str(tmp_path / name), "w", format=form) as out:
        stream = out.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 240, 320, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for picture in pictures(5):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format=stream.pix_fmt)))
        out.mux(stream.encode(None))
    (recording,) = opened(tmp_path)
    assert len(list(recording.frames())) == 5


def test_what_is_passed_over_is_counted(video: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "video.idx").touch()
    (tmp_path / "other.idx").touch()
    (tmp_path / "README").touch()
    (tmp_path / ".hidden.avi").touch()
    (tmp_path / "deeper").mkdir()
    found = find_sources([str(tmp_path)], 10.0)
    assert [recording.name for recording in found.recordings] == ["yard"]
    assert found.passed_over == [f"{tmp_path}: 2 files *.idx, 1 file *.txt, 1 file without a suffix, 1 folder"]


def test_one_bad_source_does_not_hide_the_others(video: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "lost.mp4").symlink_to(tmp_path / "gone.mp4")
    found = find_sources([str(tmp_path / "gone"), str(tmp_path)], 10.0)
    assert [recording.name for recording in found.recordings] == ["yard"]
    assert "gone: no such file or folder" in found.bad[0]
    assert "empty.mp4: not a readable video" in found.bad[1]
    assert "lost.mp4" in found.bad[2]
    with pytest.raises(VideoError, match="gone: no such file or folder"):
        opened(tmp_path / "gone", tmp_path)


def write_playlist(folder: Path, shade: int = 0) -> Path:
    folder.mkdir()
    for number in range(3):
        times = [number + place / 10 for place in range(10)]
        write_clip(
            folder / f"part {number}.ts", pictures(10, shade + number), times=times, codec="mpeg4", pixels="yuv420p"
        )
    lines = (f"#EXTINF:1.0,\npart {number}.ts" for number in range(3))
    head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n"
    (folder / "index.m3u8").write_text(head + "\n".join(lines) + "\n#EXT-X-ENDLIST\n")
    return folder / "index.m3u8"


def test_a_playlist_is_its_segments(tmp_path: Path) -> None:
    one, two = write_playlist(tmp_path / "one"), write_playlist(tmp_path / "two", shade=9)
    assert one.read_text() == two.read_text()
    prints = [recording.fingerprint for recording in opened(one, two)]
    assert prints[0] != prints[1]
    assert [path.name for path in playlist(one)] == ["index.m3u8", "part 0.ts", "part 1.ts", "part 2.ts"]
    (tmp_path / "master.m3u8").write_text('#EXTM3U\n#EXT-X-MAP:URI="one/part 0.ts"\none/index.m3u8\n')
    assert [path.name for path in playlist(tmp_path / "master.m3u8")] == [
        "master.m3u8", "part 0.ts", "index.m3u8", "part 1.ts", "part 2.ts",
    ]  # fmt: skip
    (tmp_path / "one" / "apart.avi").write_bytes(write_video(tmp_path / "apart.avi", frames=3).read_bytes())
    assert [recording.name for recording in opened(tmp_path / "one")] == ["apart", "index"], "segments are not apart"


def test_missing_segments_count_as_damage(tmp_path: Path) -> None:
    path = write_playlist(tmp_path / "lost")
    (path.parent / "part 1.ts").unlink()
    (recording,) = opened(path)
    damage: list[None] = []
    assert len(list(recording.frames(lambda: damage.append(None)))) == 20
    assert len(damage) == 1
    (tmp_path / "master.m3u8").write_text("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlost/index.m3u8\n")
    assert opened(tmp_path / "master.m3u8")[0].missing == 1


def test_a_playlist_that_is_not_at_its_end_is_said(tmp_path: Path) -> None:
    path = write_playlist(tmp_path / "killed")
    whole = path.read_text()
    path.write_text(whole.replace("#EXT-X-ENDLIST\n", ""))
    with pytest.raises(VideoError, match=r"index\.m3u8: has no #EXT-X-ENDLIST, so it is still being written"):
        opened(path)
    found = find_sources([str(path.parent)], 10.0)
    assert "has no #EXT-X-ENDLIST" in found.bad[0]
    assert found.recordings == [], "or its segments would be read now, and once more as a whole"
    (tmp_path / "master.m3u8").write_text("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nkilled/index.m3u8\n")
    with pytest.raises(VideoError, match=r"index\.m3u8: has no #EXT-X-ENDLIST"):
        opened(tmp_path / "master.m3u8")
    path.write_text(whole)
    (recording,) = opened(path)
    assert len(list(recording.frames())) == 30


@pytest.mark.parametrize("name", ["self.m3u8", "other.m3u8"])
def test_a_playlist_that_names_itself_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "self.m3u8").write_text(f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{name}\n")
    (tmp_path / "other.m3u8").write_text("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nself.m3u8\n")
    with pytest.raises(VideoError, match="the playlist names itself"):
        opened(tmp_path / "self.m3u8")


def test_what_is_no_regular_file_does_not_hang(video: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "lost.m3u8").symlink_to(tmp_path / "gone")
    found = find_sources([str(tmp_path)], 10.0)
    assert [recording.name for recording in found.recordings] == ["yard"]
    assert "fifo.mp4: not a regular file" in found.bad[0]
    assert "lost.m3u8: cannot be read: No such file" in found.bad[1]


def test_a_picture_that_is_no_file_is_missing_and_the_others_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / "4.png").symlink_to("nowhere.png")
    with pytest.raises(VideoError, match=r"none of its 1 pictures can be read.*4\.png"):
        opened(folder)
    for number, picture in enumerate(pictures(4)):
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    os.mkfifo(folder / "5.png")
    (recording,) = opened(folder)
    damage: list[None] = []
    assert len(list(recording.frames(lambda: damage.append(None)))) == 4
    assert len(damage) == 2


def test_what_cannot_be_read_is_named_and_not_only_the_folder_that_it_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, picture in enumerate(pictures(3)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    real = Path.stat

    def refused(path: Path, **about: bool) -> os.stat_result:
        if path.name == "1.png":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **about)

    monkeypatch.setattr(Path, "stat", refused)
    assert find_sources([str(tmp_path)], 10.0).bad == [f"{tmp_path / '1.png'}: cannot be read: Permission denied"]


@pytest.mark.parametrize("address", ["file://yard.avi", "file://nas/yard.avi", "file://[bad/yard.avi", ""])
def test_an_address_without_a_place_is_never_the_working_folder(
    video: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.chdir(video.parent)
    with pytest.raises(VideoError, match=r"expected file:///|no such file or folder"):
        opened(address)


def test_a_name_with_control_characters_becomes_one_that_can_be_stored(video: Path, tmp_path: Path) -> None:
    (recording,) = opened(video.rename(tmp_path / "a\nb\r.avi"))
    assert recording.name == "a_b_"


def test_the_same_recording_is_the_same_bytes(tmp_path: Path) -> None:
    content = write_video(tmp_path / "a.avi", frames=30).read_bytes()
    middle = len(content) // 2
    for name, other in (("twin", b"\0"), ("same", content[middle : middle + 1])):
        (tmp_path / f"{name}.avi").write_bytes(content[:middle] + other + content[middle + 1 :])
    first, twin, same = opened(*(tmp_path / f"{name}.avi" for name in ("a", "twin", "same")))
    assert first.fingerprint == same.fingerprint != twin.fingerprint
    for folder, shade in (("monday", 1), ("tuesday", 2)):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "0.bmp"), np.full((9, 9, 3), shade, np.uint8))
    monday, tuesday = opened(tmp_path / "monday", tmp_path / "tuesday")
    assert monday.fingerprint != tuesday.fingerprint


def test_a_codec_that_nothing_decodes_is_said(video: Path) -> None:
    video.write_bytes(video.read_bytes().replace(b"MJPG", b"XyZ9"))
    with pytest.raises(VideoError, match=r"yard\.avi: not a readable video: no decoder for its codec is installed"):
        opened(video)


def test_a_file_without_pictures_is_said(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mkv"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        out.mux(stream.encode(frame))
    with pytest.raises(VideoError, match=r"sound\.mkv: not a readable video: it holds no video"):
        opened(tmp_path / "sound.mkv")


def test_a_webcam_that_is_not_there_is_said() -> None:
    with pytest.raises(VideoError, match=r"no camera there|no webcams on"):
        opened("97")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://10.0.0.2:554/live", "rtsp://10.0.0.2:554/live"),
        ("rtsp://admin:secret@cam/live", "rtsp://cam/live"),
        ("rtsp://admin:se@cret@cam/live", "rtsp://cam/live"),
        ("rtsp://admin:se/cret@cam/live", "rtsp://cam/live"),
        ("rtsp://admin:se@c/r@et@cam:554/live?channel=1", "rtsp://cam:554/live?channel=1"),
        ("rtsp://cam/user=admin&password=secret&channel=1", "rtsp://cam/user=***&password=***&channel=1"),
        ("http://cam/flv?port=1&user=admin&password=secret", "http://cam/flv?port=1&user=***&password=***"),
        ("http://cam/?PWD=se;c#r?et&x=1", "http://cam/?PWD=***&x=1"),
        ("http://cam/?x=1&access_token=secret#t=3", "http://cam/?x=1&access_token=***"),
        ("rtsp://admin:hun?ter2@cam:554/x", "rtsp://cam:554/x"),
        ("srt://cam:1?passphrase=secret", "srt://cam:1?passphrase=***"),
        ("http://cam/?loginuse=admin&loginpas=secret", "http://cam/?loginuse=***&loginpas=***"),
        ("http://cam/?u=admin&p=secret&up=1", "http://cam/?u=***&p=***&up=1"),
        ("http://proxy/?url=rtsp://admin:secret@cam/x", "http://proxy/?url=rtsp://cam/x"),
        ("http://cam/?password%3Dsecret&jwt=secret", "http://cam/?password%3D***&jwt=***"),
        ("http://cam/?email=a@b.c&api_key=secret", "http://cam/?email=a@b.c&api_key=***"),
        ("/a/file@home.mp4", "/a/file@home.mp4"),
    ],
)
def test_no_secret_of_an_address_is_shown(address: str, shown: str) -> None:
    assert without_password(address) == shown
    assert without_password(shown) == shown
