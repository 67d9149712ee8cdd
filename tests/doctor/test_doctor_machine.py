"""Limits of containers, memory, disks and the clock, read from files that the test writes."""

import ctypes
import sys
import time
from pathlib import Path

import pytest

from reid_toolkit.doctor import machine

BEFORE_BATTERY = 86_400.0


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)
    return folder


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu__max": "150000 100000\n"}, 1.5),
        ({"cpu__max": "max 100000\n"}, None),
        ({"cpu__cfs_quota_us": "50000\n", "cpu__cfs_period_us": "100000\n"}, 0.5),
        ({"cpu__cfs_quota_us": "-1\n", "cpu__cfs_period_us": "100000\n"}, None),
        ({"cpu__max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_the_cores_that_a_container_allows(tmp_path, files, limit):
    assert machine.core_limit(write(tmp_path, **files)) == limit


def test_fewer_cores_allowed_than_seen_is_a_note_with_the_option(tmp_path):
    finding = machine.cores(write(tmp_path, cpu__max="50000 100000\n"))
    assert (finding.status, finding.facts["limit"]) == ("note", 0.5)
    assert "--cores 1" in str(finding.mend)
    assert machine.cores(write(tmp_path, cpu__max="max 100000\n")).status == "ok"


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"memory__max": "1000000000\n"}, 1_000_000_000),
        ({"memory__max": "max\n"}, None),
        ({"memory__limit_in_bytes": "2000000000\n"}, 2_000_000_000),
        ({"memory__limit_in_bytes": "9223372036854771712\n"}, None),
    ],
)
def test_the_memory_that_a_container_allows(tmp_path, files, limit):
    assert machine.memory_limit(write(tmp_path, **files)) == limit


def test_little_memory_is_a_note(tmp_path):
    table = tmp_path / "meminfo"
    table.write_text("MemTotal:       8000000 kB\nMemAvailable:   6000000 kB\nHugePages_Total:       0\n")
    assert machine.memory(tmp_path, table).status == "ok"
    finding = machine.memory(write(tmp_path, memory__max="200000000\n"), table)
    assert finding.status == "note"
    assert "limit is 0.2 GB" in finding.found
    table.write_text("MemTotal:       8000000 kB\nMemAvailable:   100000 kB\n")
    (tmp_path / "memory.max").unlink()
    assert machine.memory(tmp_path, table).status == "note"
    assert machine.memory(tmp_path, tmp_path / "absent").facts["bytes"] is None


@pytest.mark.parametrize("now", [BEFORE_BATTERY, 946_684_800.0, 5e9, 1e18, float("nan")])
def test_a_clock_that_cannot_be_right_is_said(now):
    finding = machine.clock(now)
    assert finding.status == "note"
    assert "cannot be right" in finding.found
    assert "timedatectl" in str(finding.mend)


@pytest.mark.parametrize(("told", "status"), [(True, "ok"), (None, "ok"), (False, "note")])
def test_a_clock_that_nobody_synchronises_is_said(monkeypatch, told, status):
    monkeypatch.setattr(machine, "synchronised", lambda: told)
    assert machine.clock(time.time()).status == status


@pytest.mark.skipif(sys.platform != "linux" or ctypes.sizeof(ctypes.c_long) != 8, reason="only there it is asked")
@pytest.mark.parametrize(
    ("answer", "state", "told"), [(0, 0x2001, True), (5, 0x2041, False), (0, 0x40, False), (-1, 0, None)]
)
def test_the_kernel_is_asked_to_change_nothing(monkeypatch, answer, state, told):
    asked = []

    class Library:
        def adjtimex(self, timex):
            asked.append(bytes(timex))
            timex[40:44] = state.to_bytes(4, sys.byteorder)
            return answer

    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: Library())
    assert machine.synchronised() is told
    assert asked == [bytes(512)], "its first field says what to set"


def test_the_kernel_is_asked_without_harm():
    before = time.time()
    assert machine.synchronised() in (True, False, None)
    assert abs(time.time() - before) < 60


def test_a_disk_is_looked_at_where_the_folder_will_be(tmp_path, monkeypatch):
    finding = machine.disk("disk", tmp_path / "not" / "yet", None)
    assert finding.facts["writable"] is True
    assert finding.facts["path"] == str(tmp_path / "not" / "yet")
    monkeypatch.setattr(machine, "LEAST_DISK", finding.facts["free"] + 1)
    assert machine.disk("disk", tmp_path, "free some").mend == "free some"


def test_a_folder_that_cannot_be_written_is_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)  # the tests may run as root, who may write everywhere
    finding = machine.disk("disk", tmp_path, "set X")
    assert (finding.status, finding.mend) == ("note", "set X")
    assert "cannot be written" in finding.found


def test_gpus_are_those_that_the_driver_names(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200, 570.1, 143771 MiB'\n")
    tool.chmod(0o755)
    assert machine.gpus().facts["gpus"] == ["NVIDIA H200, 570.1, 143771 MiB"]
    tool.write_text("#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch'; exit 18\n")
    finding = machine.gpus()
    assert (finding.status, finding.facts["gpus"]) == ("note", [])
    assert "mismatch" in finding.found
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert machine.gpus().status == "ok"
