"""Attacks by what is sent: too large, too many, bombs of pixels, files that are no pictures, malformed forms."""

import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from fort import Fort
from serving import jpeg, png

from reid_toolkit.service import pictures
from reid_toolkit.service.pictures import size_of

SEARCH = "/api/v1/search"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb(width: int, height: int) -> bytes:
    """A small file that claims any number of pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 50_000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def jpeg_bomb() -> bytes:
    """A real JPEG whose header claims 65,500 x 65,500."""
    content = bytearray(jpeg())
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(content)


def jpeg_bomb_behind() -> bytes:
    """A JPEG with a small frame first, and a huge one behind it."""
    content = jpeg()
    at = content.index(b"\xff\xc0")
    (length,) = struct.unpack(">H", content[at + 2 : at + 4])
    frame = bytearray(content[at : at + 2 + length])
    frame[5:9] = struct.pack(">HH", 65_500, 65_500)
    return content[: at + 2 + length] + bytes(frame) + content[at + 2 + length :]


def bmp_bomb() -> bytes:
    content = bytearray(cv2.imencode(".bmp", np.zeros((4, 4, 3), np.uint8))[1])
    content[18:26] = struct.pack("<ii", 60_000, -60_000)
    return bytes(content)


def webp_bomb() -> bytes:
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + (16_000).to_bytes(3, "little") * 2
    return b"RIFF" + struct.pack("<I", len(canvas) + 4) + b"WEBP" + canvas


def webp_lossless_bomb() -> bytes:
    data = b"\x2f" + (16_382 | 16_382 << 14).to_bytes(4, "little") + b"\0" * 8
    part = b"VP8L" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(part) + 4) + b"WEBP" + part


BOMBS: dict[str, Callable[[], bytes]] = {
    "png": lambda: png_bomb(100_000, 100_000),
    "png of the largest size": lambda: png_bomb(2**32 - 1, 2**32 - 1),
    "png of one line": lambda: png_bomb(2**31, 1),
    "png just too large": lambda: png_bomb(5001, 5000),
    "jpeg": jpeg_bomb,
    "jpeg behind a small one": jpeg_bomb_behind,
    "bmp upside down": bmp_bomb,
    "webp canvas": webp_bomb,
    "webp lossless": webp_lossless_bomb,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_of_pixels_are_never_decoded(fort: Fort, bomb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "decode", lambda _: pytest.fail("a decoder was given the bomb"))
    for path, fields in ((SEARCH, {}), ("/api/v1/records", {"camera": "door"})):
        answer = fort.ask("POST", path, data=fields, files=[("picture", (f"{bomb}.jpg", BOMBS[bomb]()))])
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large"), answer.text


def test_many_pictures_that_are_too_large_together(fort: Fort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "decode", lambda _: pytest.fail("a decoder was given the bomb"))
    files = [("picture", (f"{number}.png", png_bomb(3000, 3000))) for number in range(3)]
    assert fort.ask("POST", SEARCH, files=files).status_code == 413


def test_sizes_are_read_as_the_decoder_reads_them() -> None:
    rng = np.random.default_rng(0)
    for height, width in ((1, 1), (31, 17), (64, 300)):
        image = rng.integers(0, 255, (height, width, 3), np.uint8)
        for suffix in (".jpg", ".png", ".bmp", ".webp"):
            assert size_of(bytes(cv2.imencode(suffix, image)[1])) == (width, height), suffix
        progressive = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1]
        assert size_of(bytes(progressive)) == (width, height)
        lossless = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1]
        assert size_of(bytes(lossless)) == (width, height)


def test_no_damage_makes_the_reader_of_sizes_fail() -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 255, (20, 10, 3), np.uint8)
    for suffix in (".jpg", ".png", ".bmp", ".webp"):
        content = bytes(cv2.imencode(suffix, image)[1])
        for end in range(min(len(content), 200)):
            size_of(content[:end])
        for _ in range(300):
            damaged = bytearray(content)
            for at in rng.integers(0, min(len(content), 200), 3):
                damaged[at] = rng.integers(256)
            size_of(bytes(damaged))


NO_PICTURES = {
    "nothing": b"",
    "text": b"hello",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "html": b"<!doctype html><script>alert(1)</script>",
    "gif": b"GIF89a" + b"\xff" * 60,
    "tiff": b"II*\0" + b"\xff" * 60,
    "zip": b"PK\3\4" + b"\0" * 60,
    "pickle": b"\x80\x04\x95.",
    "exr": b"v/1\1" + b"\0" * 60,
    "playlist": b"#EXTM3U\nfile:///etc/passwd",
    "jpeg without a frame": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    "png without a size": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0",
    "png of no pixels": png_bomb(0, 0),
    "half a jpeg's head": jpeg()[:30],
    "png with damaged data": png()[:45] + b"\0" * 30,
    "png head and nothing": png_bomb(100, 100)[:33],
    "webp of lies": b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff",
    "bmp of lies": b"BM" + b"\xff" * 12 + struct.pack("<I", 40) + struct.pack("<ii", 10, 10) + b"\xff" * 28,
}


@pytest.mark.parametrize("kind", NO_PICTURES)
def test_what_is_no_picture_is_refused(fort: Fort, kind: str) -> None:
    answer = fort.ask("POST", SEARCH, files=[("picture", ("a.jpg", NO_PICTURES[kind]))])
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "not_a_picture"), answer.text
    answer = fort.ask("POST", "/api/v1/records", data={"camera": "d"}, files=[("picture", ("a", NO_PICTURES[kind]))])
    assert answer.status_code == 415


def test_a_good_picture_beside_a_bad_one_is_not_searched(fort: Fort) -> None:
    files = [("picture", ("a.jpg", jpeg())), ("picture", ("b.jpg", b"no picture"))]
    assert fort.ask("POST", SEARCH, files=files).status_code == 415


def test_too_many_bytes_and_too_many_pictures(fort: Fort) -> None:
    large = jpeg() + b"\0" * 200_001
    assert fort.ask("POST", SEARCH, files=[("picture", ("a.jpg", large))]).status_code == 413
    whole = [("picture", (f"{number}.jpg", jpeg() + b"\0" * 190_000)) for number in range(4)]
    assert fort.ask("POST", SEARCH, files=whole).status_code == 413
    many = [("picture", (f"{number}.jpg", jpeg())) for number in range(5)]
    answer = fort.ask("POST", SEARCH, files=many)
    assert (answer.status_code, "at most 4" in answer.json()["error"]["message"]) == (413, True)
    fields = {f"camera{number}": "x" for number in range(300)}
    assert fort.ask("POST", SEARCH, data=fields, files=[("picture", ("a.jpg", jpeg()))]).status_code == 400
    field = {"camera": "x" * 70_000}
    assert fort.ask("POST", SEARCH, data=field, files=[("picture", ("a.jpg", jpeg()))]).status_code == 400


JSON = {"Content-Type": "application/json"}
SPOKEN = ("same", "not", "group", "Ana/split", "Ana/name")


@pytest.mark.parametrize("path", SPOKEN)
def test_what_a_stranger_sends_is_not_parsed(fort: Fort, path: str) -> None:
    """FastAPI parses JSON before it asks for a token, and nobody else is answered meanwhile."""
    assert fort.ask("POST", f"/api/v1/people/{path}", None, content=b"{", headers=JSON).status_code == 401
    assert fort.ask("POST", f"/api/v1/people/{path}", content=b"{", headers=JSON).status_code == 422


def test_only_requests_with_pictures_may_be_large(fort: Fort) -> None:
    large = b"[" + b" " * 300_000 + b"]"  # less than a request with pictures may have
    for path in SPOKEN:
        assert fort.ask("POST", f"/api/v1/people/{path}", content=large, headers=JSON).status_code == 413
        chunks = iter([large])
        assert fort.ask("POST", f"/api/v1/people/{path}", content=chunks, headers=JSON).status_code == 413
    assert fort.ask("POST", "/login", None, data={"token": "x" * 300_000}).status_code == 413
    form = {"record": (None, "0" * 64), "after": (None, "x" * 300_000)}
    assert fort.ask("POST", SEARCH, files=form).status_code == 404


def test_a_body_that_says_too_little_or_nothing_of_its_size(fort: Fort) -> None:
    def parts():
        yield b"--x\r\nContent-Disposition: form-data; name=picture; filename=a\r\n\r\n"
        for _ in range(700):
            yield b"\0" * 1000

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert fort.ask("POST", SEARCH, content=parts(), headers=headers).status_code == 413
    for length in ("-1", "+5", "1e3", "0x10", "5, 5", "99999999999999999999"):
        answer = fort.ask("POST", SEARCH, content=b"", headers={**headers, "Content-Length": length})
        assert answer.status_code in (400, 413), length


FORMS = {
    "no boundary": ("multipart/form-data", b"--x--"),
    "empty boundary": ("multipart/form-data; boundary=", b"----"),
    "long boundary": ("multipart/form-data; boundary=" + "x" * 5000, b"--x--"),
    "another boundary": ("multipart/form-data; boundary=y", b"--x\r\n\r\n--x--"),
    "no name": ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n"),
    "no disposition": ("multipart/form-data; boundary=x", b"--x\r\nX: y\r\n\r\na\r\n--x--\r\n"),
    "never ends": ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="picture"'),
    "bad charset": (
        "multipart/form-data; boundary=x; charset=no-such",
        b'--x\r\nContent-Disposition: form-data; name="camera"\r\n\r\n\xff\r\n--x--\r\n',
    ),
    "many headers": (
        "multipart/form-data; boundary=x",
        b"--x\r\n" + b"A: b\r\n" * 3000 + b'Content-Disposition: form-data; name="a"\r\n\r\na\r\n--x--\r\n',
    ),
    "nested": ("multipart/form-data; boundary=x",
    b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y--\r\n--x--"),
    "json": ("application/json", b'{"record": "x"}'),
    "xml": ("application/xml", b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'),
    "nothing": ("", b""),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_malformed_forms_are_refused(fort: Fort, form: str) -> None:
    kind, content = FORMS[form]
    answer = fort.ask("POST", SEARCH, content=content, headers={"Content-Type": kind})
    assert answer.status_code in (400, 413, 415, 422), answer.text


FILE_NAMES = (
    "../../etc/passwd", "/etc/passwd", "C:\\Windows\\win.ini", "a\0.jpg", "a\r\nX: y.jpg",
    "<script>alert(1)</script>.jpg",
    "x" * 5000 + ".jpg", "\u202egpj.exe", "", ".", "..", "con", "a;b.jpg", "{{7*7}}.jpg", "\x1b[2J.jpg", "a%00b.jpg",
)  # fmt: skip


@pytest.mark.parametrize("name", FILE_NAMES)
def test_names_of_files_are_only_names(fort: Fort, name: str) -> None:
    answer = fort.ask("POST", SEARCH, files=[("picture", (name or "empty", jpeg()))])
    if answer.status_code != 200:  # the form itself is malformed then
        assert answer.status_code in (400, 422)
        return
    (shown,) = answer.json()["query"]["images"]
    assert shown.isprintable()
    assert len(shown) <= 100
    assert "/" not in shown
    assert "\\" not in shown
