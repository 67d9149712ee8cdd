import errno
import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from happenings import KEYS, happening, put_each

from reid_toolkit.errors import InputError
from reid_toolkit.live.events.lines import FileSink, StreamSink


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_event_is_a_line_of_json(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "events.jsonl")
    sink.put([happening(0), happening(1, person=None)])
    first, second = lines(tmp_path / "events.jsonl")  # before it is closed
    sink.close()
    assert list(first) == [
        "kind", "person", "previous", "state", "camera", "time", "start", "end", "probability", "record", "tracklet",
        "visit", "key", "number", "previous_number", "watched",
    ]  # fmt: skip
    assert (first["person"], second["person"], first["time"], first["key"]) == ("Zoë", None, 1e9, KEYS[0])
    assert sink.count.sent == 2
    assert (tmp_path / "events.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_file_is_continued(tmp_path: Path) -> None:
    for number in range(3):
        sink = FileSink(tmp_path / "events.jsonl")
        sink.put([happening(number)])
        sink.close()
    assert [line["key"] for line in lines(tmp_path / "events.jsonl")] == KEYS[:3]


@pytest.mark.parametrize("kept", [1, 5, 80, -2, -1])
def test_half_a_line_is_mended(tmp_path: Path, kept: int) -> None:
    """The last line of three is cut after some bytes, in one case just before its line end."""
    path = tmp_path / "events.jsonl"
    whole = [happening(number).to_json() + b"\n" for number in range(3)]
    path.write_bytes(b"".join(whole[:2]) + whole[2][:kept])
    sink = FileSink(path)
    sink.put([happening(3)])
    sink.close()
    expected = [0, 1, 2, 3] if kept == -1 else [0, 1, 3]
    assert [line["key"] for line in lines(path)] == [KEYS[number] for number in expected]


def test_only_half_a_first_line_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"ki')
    FileSink(path).close()
    assert path.read_bytes() == b""


def test_another_file_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("buy milk")
    with pytest.raises(InputError, match=r"notes\.txt: exists and holds no events"):
        FileSink(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "buy milk"
    os.mkfifo(tmp_path / "pipe")
    for name in ("", "pipe"):
        with pytest.raises(InputError, match="is not a file"):
            FileSink(tmp_path / name)
    with pytest.raises(InputError, match=r"gone/events\.jsonl: cannot be written \(No such file"):
        FileSink(tmp_path / "gone" / "events.jsonl")


def test_a_full_disk_is_said_once_until_it_has_room_and_leaves_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    sink = FileSink(path)
    sink.put([happening(0)])
    write, room = os.write, [100]

    def full(handle: int, content: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = write(handle, content[: room[0]])
        room[0] -= taken
        return taken

    monkeypatch.setattr(os, "write", full)
    with pytest.warns(RuntimeWarning, match=r"events\.jsonl: events are lost: No space left on device") as warnings:
        sink.put([happening(1), happening(2)])
    assert len(warnings) == 1
    monkeypatch.undo()
    sink.put([happening(3)])
    monkeypatch.setattr(os, "write", full)
    with pytest.warns(RuntimeWarning, match="are lost"):  # again, because it had succeeded
        sink.put([happening(4)])
    monkeypatch.undo()
    sink.close()
    assert [line["key"] for line in lines(path)] == [KEYS[0], KEYS[3]]
    assert (sink.count.sent, sink.count.dropped) == (2, 3)


def test_standard_output_has_whole_lines_until_nobody_reads() -> None:
    class Pipe(io.StringIO):
        closed_by_reader = False

        def flush(self) -> None:
            if self.closed_by_reader:
                raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    pipe = Pipe()
    sink = StreamSink(pipe)
    sink.put([happening(0), happening(1)])
    assert [json.loads(line)["key"] for line in pipe.getvalue().splitlines()] == KEYS[:2]
    pipe.closed_by_reader = True
    with pytest.warns(RuntimeWarning, match=r"any more \(.*Broken pipe\); watching continues") as warnings:
        put_each(sink, range(2, 5))
    assert len(warnings) == 1
    assert (sink.count.sent, sink.count.dropped) == (2, 3)
    sink.poll()
    sink.close()


WRITER = """
import itertools, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from happenings import happening
from reid_toolkit.live.events.lines import FileSink
sink = FileSink(Path(sys.argv[1]))
for number in itertools.count():
    sink.put([happening(number)])
    if number == 20:
        print("ready", flush=True)
"""


def test_killed_while_it_writes_the_file_has_whole_lines_and_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    command = [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
    sink = FileSink(path)
    sink.put([happening(0)])
    sink.close()
    *written, last = lines(path)
    assert len(written) > 20
    assert [int(line["key"], 16) for line in written] == list(range(len(written)))
    assert last["key"] == KEYS[0]


@pytest.mark.parametrize("gone", ["renamed", "removed", "replaced"])
def test_after_a_rotation_events_go_on_in_a_new_file(tmp_path: Path, gone: str) -> None:
    path, old = tmp_path / "events.jsonl", tmp_path / "events.jsonl.1"
    first, second, third = (happening(number) for number in range(3))
    sink = FileSink(path)
    sink.put([first])
    if gone == "removed":
        path.unlink()
    else:
        path.rename(old)
    if gone == "replaced":
        path.touch(mode=0o640)
    sink.put([second, third])
    sink.close()
    assert path.read_bytes().splitlines() == [second.to_json(), third.to_json()]
    assert gone == "removed" or old.read_bytes().splitlines() == [first.to_json()]
    assert (sink.count.sent, sink.count.dropped) == (3, 0)


def test_a_file_of_something_else_in_its_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = FileSink(path)
    path.unlink()
    path.write_text("notes")
    with pytest.warns(RuntimeWarning, match="events are lost: .*holds no events"):
        sink.put([happening(0)])
    path.unlink()
    sink.put([happening(1)])
    sink.close()
    assert path.read_bytes() == happening(1).to_json() + b"\n"
    assert (sink.count.sent, sink.count.dropped) == (1, 1)


def test_two_watches_do_not_write_to_one_file_at_the_same_time(tmp_path: Path) -> None:
    """One that starts mends the end of the file, and would cut off a line that the other is just writing."""
    path = tmp_path / "events.jsonl"
    first, second = (happening(number).to_json() + b"\n" for number in range(2))
    sink = FileSink(path)
    sink.put([happening(0)])
    other = os.open(path, os.O_RDWR | os.O_APPEND)
    fcntl.flock(other, fcntl.LOCK_EX)
    writing = threading.Thread(target=sink.put, args=([happening(1)],))
    starting = threading.Thread(target=lambda: FileSink(path).close())
    for thread in (writing, starting):
        thread.start()
    writing.join(0.2)
    assert path.read_bytes() == first
    os.write(other, b'{"ki')
    os.close(other)  # killed in the middle of a line
    for thread in (writing, starting):
        thread.join(30)
    sink.close()
    assert path.read_bytes() in (first + second, first + b'{"ki' + second)  # by who came first
