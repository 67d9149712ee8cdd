"""Files from a server on loopback, which does whatever servers do."""

import errno
import hashlib
import io
import os
from pathlib import Path
from urllib.request import Request

import pytest
from model_server import Offer, proxying, serving

from reid_toolkit.catalogue import download as module
from reid_toolkit.catalogue.download import NoDowngrade, address_of, check_mirror, download, fetch_files
from reid_toolkit.catalogue.entries import Entry, File
from reid_toolkit.errors import DownloadError, InputError

CONTENT = bytes(range(256)) * 1000
NAME = "model.bin"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def file_of(content: bytes = CONTENT, name: str = NAME) -> File:
    return File(f"https://publisher.example/some/{name}", len(content), "sha384", hashlib.sha384(content).hexdigest())


def entry_of(*files: File) -> Entry:
    return Entry("net", "detector", "us", "", "MIT", "", "", "", 32, 32, "SSD", files)


def get(offer: Offer, target: Path, file: File | None = None) -> list[int]:
    seen: list[int] = []
    with serving(offer) as address:
        download(f"{address}/{NAME}", file or file_of(), target, seen.append)
    return seen


def part(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def only(folder: Path, *names: str) -> bool:
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_a_file_comes_whole(tmp_path: Path) -> None:
    offer = Offer({f"/{NAME}": CONTENT})
    seen = get(offer, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert only(tmp_path, NAME)
    assert (seen[0], seen[-1]) == (0, len(CONTENT))
    assert seen == sorted(seen)
    assert offer.asked == [(f"/{NAME}", "")]


def test_what_was_cut_off_goes_on(tmp_path: Path) -> None:
    offer = Offer({f"/{NAME}": CONTENT}, cut_after=100_000)
    with pytest.raises(DownloadError, match="cut off after 100000 of 256000 bytes: run this again"):
        get(offer, tmp_path / NAME)
    assert only(tmp_path, f"{NAME}.part")
    assert part(tmp_path / NAME).read_bytes() == CONTENT[:100_000]
    seen = get(offer, tmp_path / NAME)
    assert seen[0] == 100_000
    assert offer.asked == [(f"/{NAME}", ""), (f"/{NAME}", "bytes=100000-")]
    assert (tmp_path / NAME).read_bytes() == CONTENT


@pytest.mark.parametrize("offer", [{"ranges": False}, {"odd_ranges": True}])
def test_a_server_that_cannot_go_on_begins_again(tmp_path: Path, offer: dict[str, bool]) -> None:
    part(tmp_path / NAME).write_bytes(CONTENT[:1000])
    assert get(Offer({f"/{NAME}": CONTENT}, **offer), tmp_path / NAME)[0] == 0
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_part_that_is_all_there_is_not_fetched_again(tmp_path: Path) -> None:
    offer = Offer({})
    part(tmp_path / NAME).write_bytes(CONTENT)
    get(offer, tmp_path / NAME)
    assert not offer.asked
    assert only(tmp_path, NAME)


def test_a_part_that_is_too_long_is_begun_again(tmp_path: Path) -> None:
    part(tmp_path / NAME).write_bytes(CONTENT + b"more")
    get(Offer({f"/{NAME}": CONTENT}), tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_another_file_is_deleted(tmp_path: Path) -> None:
    other = b"x" + CONTENT[1:]
    with pytest.raises(
        DownloadError, match=r"is not the file of the catalogue \(its sha384 differs\), so it was delet"
    ):
        get(Offer({f"/{NAME}": other}), tmp_path / NAME)
    assert only(tmp_path)


def test_a_part_of_another_file_costs_one_more_download(tmp_path: Path) -> None:
    part(tmp_path / NAME).write_bytes(b"something else")
    offer = Offer({f"/{NAME}": CONTENT})
    with pytest.raises(DownloadError, match="deleted: run this again"):
        get(offer, tmp_path / NAME)
    get(offer, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_promise_of_another_size_is_refused_before_a_byte_is_kept(tmp_path: Path) -> None:
    part(tmp_path / NAME).write_bytes(CONTENT[:1000])
    with pytest.raises(DownloadError, match="sends 256004 bytes, expected 256000 bytes by the catalogue"):
        get(Offer({f"/{NAME}": CONTENT + b"more"}), tmp_path / NAME)
    assert part(tmp_path / NAME).read_bytes() == CONTENT[:1000]


def test_what_does_not_end_is_left(tmp_path: Path) -> None:
    offer = Offer({f"/{NAME}": CONTENT}, untold=True, behind=b"more" * 10_000_000)
    with pytest.raises(DownloadError, match="sends more bytes, expected 256000"):
        get(offer, tmp_path / NAME)
    assert part(tmp_path / NAME).stat().st_size == 0


@pytest.mark.parametrize(("status", "said"), [(404, "404 Not Found"), (403, "403 Forbidden"), (503, "503 Service Un")])
def test_what_a_server_refuses_with_is_said(tmp_path: Path, status: int, said: str) -> None:
    with pytest.raises(DownloadError, match=f"model.bin: the server answers {said}"):
        get(Offer({}, status=status), tmp_path / NAME)
    assert only(tmp_path)


def test_a_range_behind_the_end_is_asked_for_without_one(tmp_path: Path) -> None:
    part(tmp_path / NAME).write_bytes(CONTENT[:1000])
    with pytest.raises(DownloadError, match="the server answers 416"):
        get(offer := Offer({}, status=416), tmp_path / NAME)
    assert [wanted for _, wanted in offer.asked] == ["bytes=1000-", ""]


def test_redirects_are_followed_but_not_to_everything(tmp_path: Path) -> None:
    offer = Offer({"/other": CONTENT}, redirects={f"/{NAME}": "/other"})
    part(tmp_path / NAME).write_bytes(CONTENT[:1000])
    get(offer, tmp_path / NAME)
    assert offer.asked[-1] == ("/other", "bytes=1000-")
    (tmp_path / NAME).unlink()
    for place, said in (
        ("ftp://elsewhere/x", "redirects to ftp://elsewhere/x, which is not safe to follow: expected http or https"),
        ("file:///etc/passwd", "not allowed"),  # urllib's own words
        (f"/{NAME}", "infinite loop"),
    ):
        with pytest.raises(DownloadError, match=said):
            get(Offer({}, redirects={f"/{NAME}": place}), tmp_path / NAME)
    assert only(tmp_path)


def test_no_redirect_leads_out_of_https() -> None:
    def redirect(target: str) -> Request | None:
        return NoDowngrade().redirect_request(Request("https://a/x"), io.BytesIO(), 302, "Found", {}, target)

    followed = redirect("https://b/x")
    assert followed is not None
    assert followed.full_url == "https://b/x"
    with pytest.raises(DownloadError, match="redirects to http://b/x, which is not safe to follow: expected https"):
        redirect("http://b/x")


def test_a_proxy_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serving(Offer({f"/{NAME}": CONTENT})) as address, proxying(seen) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        wanted = f"{address}/{NAME}".replace("127.0.0.1", "models.example")
        download(wanted, file_of(), tmp_path / NAME, lambda _: None)
    assert seen == [wanted]
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_nobody_there_is_said_with_where_to_put_the_files(tmp_path: Path) -> None:
    files = [file_of(name="model.xml"), file_of(name="model.bin"), file_of(name="more.bin")]
    (tmp_path / "model.xml").write_bytes(CONTENT)
    with serving(Offer({})) as address:
        pass
    with pytest.raises(DownloadError) as failed:
        fetch_files(entry_of(*files), tmp_path, address, lambda _: None, pytest.fail)
    assert str(failed.value) == (
        f"{address}/net/model.bin: cannot be reached (Connection refused): to continue without a network, fetch "
        "https://publisher.example/some/model.bin and https://publisher.example/some/more.bin elsewhere, put them "
        f"into {tmp_path}, and run this again"
    )
    for file in files[1:]:
        (tmp_path / file.name).write_bytes(CONTENT)
    fetch_files(entry_of(*files), tmp_path, address, pytest.fail, pytest.fail)


def test_a_connection_that_breaks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([CONTENT[:500]])

    def broken(*_: object) -> bytes:
        for answer in answers:
            return answer
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))

    monkeypatch.setattr("http.client.HTTPResponse.read1", broken)
    with pytest.raises(DownloadError, match=r"was cut off \(Connection reset by peer\): run this again"):
        get(Offer({f"/{NAME}": CONTENT}), tmp_path / NAME)
    assert part(tmp_path / NAME).read_bytes() == CONTENT[:500]


def test_a_disk_that_is_full_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\): set REID_CACHE to a folder"):
        get(Offer({f"/{NAME}": CONTENT}), tmp_path / NAME)
    assert part(tmp_path / NAME).read_bytes() == CONTENT


def test_a_mirror_is_laid_out_as_the_cache_and_counts_over_all_files(tmp_path: Path) -> None:
    other = CONTENT[:5000]
    files = [file_of(name="model.xml"), file_of(other, "model.bin")]
    (tmp_path / "model.bin").write_bytes(b"a browser's half of it")
    wrong: list[Path] = []
    seen: list[int] = []
    with serving(Offer({"/reid/net/model.xml": CONTENT, "/reid/net/model.bin": other})) as address:
        mirror = check_mirror(f"{address}/reid/")
        fetch_files(entry_of(*files), tmp_path, mirror, seen.append, wrong.append)
        assert address_of(entry_of(*files), files[0], mirror) == f"{address}/reid/net/model.xml"
    assert wrong == [tmp_path / "model.bin"]
    assert only(tmp_path, "model.xml", "model.bin")
    assert seen == sorted(seen)
    assert seen[-1] == 261_000
    assert address_of(entry_of(*files), files[0], None) == "https://publisher.example/some/model.xml"


@pytest.mark.parametrize(
    "mirror",
    [
        "models.example", "ftp://a/b", "file:///tmp", "https://", "http://a/?q=1", "http://[::1/reid", "http://:80/",
        "http://a:99999/", "http://a:b/",
    ],
)  # fmt: skip
def test_what_is_no_mirror_is_refused(mirror: str) -> None:
    with pytest.raises(InputError, match="expected the address of a mirror"):
        check_mirror(mirror)


@pytest.mark.parametrize("scheme", ["https://", "ftp://", ""])
def test_a_password_in_a_mirrors_address_is_refused_and_not_shown(scheme: str) -> None:
    with pytest.raises(InputError, match="must not hold a user and password") as refused:
        check_mirror(f"{scheme}me:secret@models.example/reid")
    assert "secret" not in str(refused.value)
