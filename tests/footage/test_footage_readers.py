"""Several recordings read at once, by workers."""

from pathlib import Path

import pytest
from drawn_yard import RedDetector, write_video

from reid_toolkit.errors import InputError
from reid_toolkit.footage.ingest import ingest
from reid_toolkit.parallel.pool import ThisProcess
from reid_toolkit.parallel.processes import Processes


def test_several_workers_give_what_one_process_gives(tmp_path: Path) -> None:
    clips = [
        write_video(tmp_path / f"{name}.avi", shade=shade) for shade, name in enumerate(("north", "south", "gate"))
    ]
    broken = tmp_path / "broken.avi"
    broken.write_bytes(clips[0].read_bytes()[:3000])
    seen: list[int] = []
    reports = []
    for out, pool in (("one", None), ("many", Processes(2, 2))):
        bad: list[str] = []
        reports.append(
            ingest([*clips, broken], tmp_path / out, every=1, min_crops=2, pool=pool, bad=bad,
                   on_progress=lambda done, total: seen.append(done))
        )  # fmt: skip
        assert len(bad) == 1
    one, many = reports
    assert one.crops
    assert (one.videos, one.tracklets, one.crops, one.frames) == (many.videos, many.tracklets, many.crops, many.frames)
    assert one.cameras == many.cameras
    assert seen[-1] == many.frames
    crops = [
        {path.relative_to(tmp_path / out): path.read_bytes() for path in (tmp_path / out / "crops").rglob("*")
         if path.is_file()}
        for out in ("one", "many")
    ]  # fmt: skip
    assert crops[0] == crops[1]
    again = ingest(clips, tmp_path / "many", every=1, min_crops=2, pool=Processes(2, 2))
    assert (again.skipped, again.videos) == (3, 0)


def test_what_killed_workers_leave_is_removed(tmp_path: Path) -> None:
    clips = [write_video(tmp_path / f"{name}.avi", shade=shade) for shade, name in enumerate(("north", "south"))]
    left = tmp_path / "set" / "crops" / ".north.0123abcd.partial" / "00001"
    left.mkdir(parents=True)
    ingest(clips, tmp_path / "set", every=1, min_crops=2, pool=ThisProcess())
    assert sorted(path.name for path in (tmp_path / "set" / "crops").iterdir()) == ["north", "south"]


def test_several_workers_are_refused_for_what_one_process_must_read(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "north.avi")
    with pytest.raises(InputError, match="leave out the workers"):
        ingest([clip], tmp_path / "set", detector=RedDetector(), pool=Processes(2, 2))
    assert not (tmp_path / "set").exists()
