from pathlib import Path

import pytest

from reid_toolkit.datasets.folder import read_path_list
from reid_toolkit.errors import DatasetError


def test_each_line_is_a_crop_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    crops = read_path_list("b/2.jpg\r\n\n  /pictures/caf\u00e9 1.png\nb/2.jpg".encode(), "list.txt")
    assert [crop.path for crop in crops] == [
        tmp_path / "b/2.jpg",
        Path("/pictures/caf\u00e9 1.png"),
        tmp_path / "b/2.jpg",
    ]
    assert [(crop.tracklet, crop.frame) for crop in crops] == [("2", 0), ("caf\u00e9 1", 2), ("2", 3)]
    assert crops[1].origin == "list.txt, line 3"


def test_a_list_that_was_saved_on_windows_is_read() -> None:
    crops = read_path_list(b"\xef\xbb\xbf/a/1.png\r\n/a/2.png\r\n", "list")
    assert [crop.path for crop in crops] == [Path("/a/1.png"), Path("/a/2.png")]


def test_bytes_that_are_no_text_are_a_path_too() -> None:
    (crop,) = read_path_list(b"/pictures/\xff.png", "stdin")
    assert bytes(crop.path) == b"/pictures/\xff.png"


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "names no image"), (b" \n\n", "names no image"), (b"\x89PNG\0\0", "not a list")]
)
def test_what_is_no_list_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(DatasetError, match=f"stdin: {words}"):
        read_path_list(content, "stdin")
