"""``reid tracks``."""

from pathlib import Path


def test_it_scores_a_file(tmp_path: Path, reid) -> None:
    truth, found = tmp_path / "truth.txt", tmp_path / "found.txt"
    truth.write_text("".join(f"{frame},1,10,20,30,60,1,1,1\n" for frame in range(1, 11)) + "1,5,9,9,9,9,0,1,1\n")
    found.write_text("".join(f"{frame},{4 + (frame > 6)},10,20,30,60,0.9,-1,-1,-1\n" for frame in range(1, 10)))
    done = reid("tracks", truth, found)
    assert "MOTA 80.0%, IDF1 63.2%\n" in done.out
    assert "1 of 10 true boxes were missed, 0 of 9 boxes are false, 1 switches; 1 true tracks, 2 found" in done.out
    assert "1 boxes of other classes, or marked to be ignored, are left out" in done.err
    assert reid("tracks", truth, found, "--json").json["switches"] == 1
    assert "found.txt: not in the format coco" in reid("tracks", truth, found, "--result-format", "coco").error
    assert "none.txt: no such file" in reid("tracks", truth, tmp_path / "none.txt").error
