"""Networks by their names: which one is meant, and fetching its weights, from this machine alone."""

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from reid_toolkit.adopt import pretrained
from reid_toolkit.adopt.pretrained import Pretrained, fetch, find, is_name
from reid_toolkit.errors import InputError, MissingDependencyError, ModelError

DEFAULT = "osnet_x1_0_msmt17_combineall"


@pytest.mark.parametrize("name", [DEFAULT, "osnet_x1_0_msmt17"])
def test_a_name_or_how_it_begins(name: str) -> None:
    found = find(name)
    assert found.name == DEFAULT
    assert found.page.startswith("https://")
    assert found.page.endswith(found.address.rpartition("/")[2])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("osnet_x1_0", f"several networks begin so: expected a file, or one of osnet_x1_0_dancetrack, .*{DEFAULT}"),
        ("osnet_x1_0_mot71", r"no network of this name \(did you mean 'osnet_x1_0_mot17'\?\)"),
        ("osnet_x1_0_m", "no network of this name"),
        ("people", "no network of this name: expected a file, or one of fastreid_mot17_sbs50, osnet"),
    ],
)
def test_what_may_be_meant_is_said(name: str, said: str) -> None:
    with pytest.raises(InputError, match=f"^{name}: no such file, and {said}"):
        find(name)


def test_a_file_of_that_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_name(Path(DEFAULT))
    Path(DEFAULT).touch()
    assert not is_name(Path(DEFAULT))
    assert not any(is_name(Path(name)) for name in ("model.onnx", "weights/osnet", "/osnet", "osnet.pth"))


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reid.catalog", None)
    with pytest.raises(MissingDependencyError, match=r"^osnet: no such file; .* pip install '.\[pretrained\]'$"):
        find("osnet")


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that has every file."""
    monkeypatch.setenv("REID_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"weights of " + self.path.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_weights_are_fetched_into_the_cache(served: str, tmp_path: Path) -> None:
    path = fetch(Pretrained("mine", f"{served}/w.pth"))
    assert path.read_bytes() == b"weights of /w.pth"
    assert path.is_relative_to(tmp_path / "cache")


@pytest.mark.parametrize("name", [DEFAULT, pytest.param("fastreid_mot17_sbs50", marks=pytest.mark.slow)])
def test_without_a_network_it_is_said_where_the_file_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REID_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # where nobody listens
    weights = find(name)
    with pytest.raises(ModelError) as told:
        fetch(weights)
    assert str(told.value).startswith(f"{name}: cannot be fetched (")
    assert str(told.value).endswith(f": fetch {weights.page} on another machine, and adopt that file: reid adopt FILE")
    assert "\n" not in str(told.value)


def test_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "LONGEST", 0.01)
    with pytest.raises(ModelError, match="not done after 0 minutes"):
        fetch(Pretrained("mine", "https://nowhere.invalid/w.pth"))
