import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from happenings import KEYS, happening, put_each
from waiting import wait_until

from reid_toolkit.errors import InputError
from reid_toolkit.live.events import sender
from reid_toolkit.live.events.queue import DiskQueue, SenderLock
from reid_toolkit.live.events.sender import QueueSink, RefusedError, UnsentError


class Somewhere:
    """A destination that takes what it is told to take."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.answers: list[Exception] = []
        """Instead of a confirmation, the first of them each time."""
        self.away = False
        self.closed = 0

    def send(self, key: str, body: bytes) -> None:
        if self.away:
            raise UnsentError("nobody answers")
        if self.answers:
            raise self.answers.pop(0)
        self.got.append(key)

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1


def test_events_come_in_order_and_leave_nothing_behind(tmp_path: Path) -> None:
    place = Somewhere()
    sink = QueueSink("there", "there", tmp_path / "q", place)
    for number in range(0, 30, 3):
        sink.put([happening(number + step) for step in range(3)])
    sink.close()
    assert place.got == KEYS[:30]
    assert (sink.count.sent, sink.count.waiting, sink.count.dropped, place.closed) == (30, 0, 0, 1)
    left = b"".join(path.read_bytes() for path in (tmp_path / "q").iterdir())
    assert "Zoë".encode() not in left, "names of people are overwritten"


def test_what_cannot_be_sent_waits_on_the_disk_for_the_next_watch(tmp_path: Path) -> None:
    place = Somewhere()
    place.away = True
    sink = QueueSink("there", "there", tmp_path, place)
    sink.put([happening(0), happening(1)])
    wait_until(lambda: bool(sink._sending.notices))
    with pytest.warns(RuntimeWarning) as warnings:
        sink.close()
    first, last = (str(warning.message) for warning in warnings)
    assert first == "there: events cannot be sent now: nobody answers; they wait on the disk"
    assert "there: 2 events wait in " in last
    assert sink.count.waiting == 2
    place.away = False
    sink = QueueSink("there", "there", tmp_path, place)
    sink.put([happening(2)])
    sink.close()
    assert place.got == KEYS[:3]


def test_an_event_is_sent_again_with_its_key_until_it_is_confirmed(tmp_path: Path) -> None:
    place = Somewhere()
    place.answers = [UnsentError("busy")] * 4
    sink = QueueSink("there", "there", tmp_path, place)
    sink.put([happening(0), happening(1)])
    wait_until(lambda: len(place.got) == 2)
    with pytest.warns(RuntimeWarning, match="busy") as warnings:
        sink.close()
    assert len(warnings) == 1, "said once"
    assert place.got == KEYS[:2]


def test_a_refused_event_is_not_sent_again_and_that_is_said_once(tmp_path: Path) -> None:
    place = Somewhere()
    place.answers = [RefusedError("it answered with status 400")] * 2
    sink = QueueSink("there", "there", tmp_path, place)
    sink.put([happening(number) for number in range(4)])
    with pytest.warns(RuntimeWarning, match="there: refuses events: it answered with status 400") as warnings:
        sink.close()
    assert len(warnings) == 1
    assert place.got == KEYS[2:4]
    assert (sink.count.sent, sink.count.refused) == (2, 2)


def test_a_full_queue_drops_the_oldest_and_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reid_toolkit.live.events.queue.MOST_WAITING", 5)
    monkeypatch.setattr(sender, "MOST_WAITING", 5)
    place = Somewhere()
    place.away = True
    sink = QueueSink("there", "there", tmp_path, place)
    with pytest.warns(RuntimeWarning) as warnings:
        put_each(sink, range(8), close=True)
    said = [str(warning.message) for warning in warnings]
    assert sum("5 events wait, which is the most: the oldest are dropped" in line for line in said) == 1
    assert (sink.count.dropped, sink.count.waiting) == (3, 5)
    with closing(DiskQueue(tmp_path, "there")) as queue:
        assert [queue.first().key] == KEYS[3:4]  # type: ignore[union-attr]


def test_files_are_for_this_user_alone_and_hold_events_only(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "queues"
    with closing(DiskQueue(folder, "mqtt://broker/topic")) as queue, closing(SenderLock(queue.path)) as lock:
        queue.put([happening(0)])
        assert lock.take(), "it makes no other file, for which a full disk has no room"
        modes = {path.name.rpartition(".")[2]: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        assert modes == dict.fromkeys(("sqlite", "sqlite-wal", "sqlite-shm", "lock"), 0o600)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        first = queue.first()
        assert first is not None
        assert (first.key, first.body) == (KEYS[0], happening(0).to_json())


def test_destinations_have_queues_of_their_own(tmp_path: Path) -> None:
    with closing(DiskQueue(tmp_path, "a")) as one, closing(DiskQueue(tmp_path, "b")) as other:
        one.put([happening(0)])
        assert (len(one), len(other)) == (1, 0)


def test_one_process_sends_and_the_next_takes_over(tmp_path: Path) -> None:
    place, other = Somewhere(), Somewhere()
    first = QueueSink("there", "there", tmp_path, place)
    first.put([happening(0)])
    wait_until(lambda: len(place.got) == 1)
    second = QueueSink("there", "there", tmp_path, other)
    second.put([happening(1)])
    wait_until(lambda: len(place.got) == 2)
    first.close()
    second.put([happening(2)])
    second.close()
    assert (place.got, other.got) == (KEYS[:2], KEYS[2:3])


def test_a_queue_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: events cannot wait there"):
        DiskQueue(tmp_path / "file", "a")
    with closing(DiskQueue(tmp_path, "a")) as queue:
        path = queue.path
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(InputError, match="not a usable queue of events"):
        DiskQueue(tmp_path, "a")
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(InputError, match="version 99"):
        DiskQueue(tmp_path, "a")


def test_a_queue_that_another_program_locks_loses_events_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reid_toolkit.live.events.queue.WAIT_SECONDS", 0.05)
    place = Somewhere()
    sink = QueueSink("there", "there", tmp_path, place)
    with closing(sqlite3.connect(sink._queue.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.warns(RuntimeWarning, match=r"there: events are lost: .*locked") as warnings:
            put_each(sink, range(2))
        assert len(warnings) == 1
    sink.put([happening(2)])
    sink.close()
    assert (place.got, sink.count.dropped) == (KEYS[2:3], 2)


def test_events_that_a_full_disk_keeps_are_sent_once_and_others_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(sender, "LONGEST_WAIT", 0.02)
    full, tries, remove = threading.Event(), [], DiskQueue.remove

    def removed(queue: DiskQueue, number: int) -> None:
        tries.append(number)
        if full.is_set():
            raise sqlite3.OperationalError("database or disk is full")
        remove(queue, number)

    monkeypatch.setattr(DiskQueue, "remove", removed)
    place = Somewhere()
    place.answers = [RefusedError("no")]
    full.set()
    sink = QueueSink("there", "there", tmp_path, place)
    put_each(sink, range(3))
    wait_until(lambda: len(place.got) == 2 and tries.count(3) > 2)
    with pytest.warns(RuntimeWarning) as warnings:
        sink.poll()
    full.clear()
    wait_until(lambda: len(sink._queue) == 0)
    sink.put([happening(3)])
    sink.close()
    assert place.got == KEYS[1:4]
    assert (sink.count.sent, sink.count.refused, sink.count.waiting) == (3, 1, 0)
    said = [str(warning.message) for warning in warnings]
    assert [line for line in said if "refuses events" not in line] == [
        f"there: events that were received cannot be deleted from {sink._queue.path} now: database or disk is full; "
        "they are sent a second time if the watch ends before that"
    ]


def test_what_was_never_deleted_is_sent_again_by_the_next_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(queue: DiskQueue, number: int) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    place = Somewhere()
    with monkeypatch.context() as patch:
        patch.setattr(DiskQueue, "remove", full)
        sink = QueueSink("there", "there", tmp_path, place)
        with pytest.warns(RuntimeWarning) as warnings:
            put_each(sink, range(2), close=True)
    assert [("cannot be deleted" in str(one.message), "2 events wait in" in str(one.message)) for one in warnings] == [
        (True, False), (False, True)
    ]  # fmt: skip
    assert place.got == KEYS[:2]
    QueueSink("there", "there", tmp_path, place).close()
    assert place.got == KEYS[:2] * 2


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from happenings import happening
from reid_toolkit.live.events.queue import DiskQueue
queue = DiskQueue(Path(sys.argv[1]), "there")
for number in range(5):
    queue.put([happening(number)])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_between_two_events_all_that_were_taken_are_sent(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent)], check=False)
    assert killed.returncode == -9
    place = Somewhere()
    sink = QueueSink("there", "there", tmp_path, place)
    sink.put([happening(5)])
    sink.close()
    assert place.got == KEYS[:6]


ANOTHER = """
import sys
from contextlib import closing
from pathlib import Path
from reid_toolkit.live.events.queue import DiskQueue, SenderLock
with closing(DiskQueue(Path(sys.argv[1]), "there")) as queue, closing(SenderLock(queue.path)) as lock:
    print(lock.take(), len(queue))
"""


def in_another_process(folder: Path) -> list[str]:
    """Whether a process that comes and ends may send, and how many events it finds."""
    found = subprocess.run([sys.executable, "-c", ANOTHER, str(folder)], check=True, capture_output=True, text=True)
    return found.stdout.split()


def test_the_end_of_another_watch_takes_no_events_away(tmp_path: Path) -> None:
    with closing(DiskQueue(tmp_path, "there")) as queue:
        queue.put([happening(0)])
        with closing(DiskQueue(tmp_path, "there")):  # as the thread that sends has it
            assert in_another_process(tmp_path)[1] == "1"
            queue.put([happening(1), happening(2)])
            assert in_another_process(tmp_path)[1] == "3"


def test_a_second_sender_in_a_process_does_not_let_others_send(tmp_path: Path) -> None:
    with closing(DiskQueue(tmp_path, "there")) as queue, closing(SenderLock(queue.path)) as lock:
        assert lock.take()
        with closing(SenderLock(queue.path)) as second:
            assert not second.take()
        assert in_another_process(tmp_path)[0] == "False"
    assert in_another_process(tmp_path)[0] == "True"


def test_a_queue_that_this_user_may_not_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(DiskQueue(tmp_path, "a")) as queue:
        path = queue.path
    monkeypatch.setattr("os.access", lambda path, mode: False)  # because root may write everything
    with pytest.raises(InputError, match=r"sqlite: events cannot wait there \(no right to read and write it\): choose"):
        DiskQueue(tmp_path, "a")
    monkeypatch.undo()
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match=r"not a usable queue of events \(unable to open database file\)"):
        DiskQueue(tmp_path, "a")
