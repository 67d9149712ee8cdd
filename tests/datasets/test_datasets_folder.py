import errno
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid_toolkit.datasets.folder import read_folder, read_path_list
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


def test_a_folder_that_cannot_be_read_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", ".hidden"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "0.png"), np.zeros((8, 4, 3), np.uint8))
    scandir = os.scandir

    def refuse(path: str) -> object:
        if os.path.basename(path) in refused:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    refused = {".hidden"}
    assert [one.name for one in read_folder(tmp_path).tracklets] == ["a", "b"]
    refused = {"b"}
    with pytest.raises(PermissionError):
        read_folder(tmp_path)


def test_names_of_folders_are_read_in_one_normal_form(tmp_path: Path) -> None:
    composed, decomposed = "Jos\u00e9", "Jose\u0301"
    (tmp_path / decomposed).mkdir()
    cv2.imwrite(str(tmp_path / decomposed / "0.png"), np.zeros((8, 4, 3), np.uint8))
    dataset = read_folder(tmp_path)
    assert [one.name for one in dataset.tracklets] == [composed]
    assert dataset.with_identities({composed: "7"}).tracklets[0].identity == "7"
