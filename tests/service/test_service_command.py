"""reid serve as a user starts and stops it, and its tokens."""

import io
import json
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import httpx
import pytest
from serving import bearer, jpeg, make_gallery

from reid_toolkit.cli import main
from reid_toolkit.gallery import Gallery
from reid_toolkit.service.tokens import read_tokens


def call(*words: object) -> tuple[int, str, str]:
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err, pytest.raises(SystemExit) as end:
        main([*map(str, words)])
    return int(end.value.code or 0), out.getvalue(), err.getvalue()


def refused(*words: object, status: int = 1) -> str:
    """The one line of a command that was refused."""
    code, out, err = call(*words)
    assert (code, out) == (status, ""), err
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in err
    return line


@contextmanager
def served(*words: object) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """A service in a process of its own: the process, its address, and the lines that it has printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "reid_toolkit", "serve", "--port", "0", *map(str, words)],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        lines = []
        for line in process.stderr:
            lines.append(line.rstrip())
            if line.startswith(("who may use it", "no tokens", "error")):
                break
        address = next((line.split()[0].rstrip("/") for line in lines if line.startswith("http")), "")
        yield process, address, lines
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_starts_answers_and_stops_gracefully(shared_gallery: Path, how: signal.Signals) -> None:
    with served("--gallery", shared_gallery) as (process, address, lines):
        assert lines[-1] == "no tokens: everybody on this machine may do everything"
        assert httpx.get(f"{address}/healthz").json() == {"status": "ok"}
        assert httpx.get(f"{address}/readyz").json() == {"status": "ready"}
        process.send_signal(how)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err.splitlines()[-1]) == (0, "stopped")
        assert "Traceback" not in err


TORCHLESS = """
import sys
sys.modules["torch"] = None  # as if it were not installed
sys.path[:0] = sys.argv[2:]
from serving import client_of, settings_of, jpeg
from pathlib import Path
with client_of(settings_of(Path(sys.argv[1]))) as client:
    answer = client.post("/api/v1/search", files=[("picture", ("red.jpg", jpeg()))])
    assert answer.status_code == 200, answer.text
    assert client.get("/api/v1/people/Ana").status_code == 200
    done = client.post("/api/v1/people/same", json={"first": "Ana", "second": "person-000001"})
    assert done.status_code == 200, done.text
del sys.modules["torch"]
assert not [name for name in sys.modules if name.partition(".")[0] in ("torch", "scipy")]
print("well")
"""


def test_it_imports_no_torch(tmp_path: Path) -> None:
    gallery = make_gallery(tmp_path, names={3: "Ana"})
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", TORCHLESS, str(gallery), str(here), str(here.parent)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr


def test_a_missing_extra_is_one_line(shared_gallery: Path) -> None:
    program = "import sys; sys.modules[sys.argv.pop(1)] = None; from reid_toolkit.cli import main; main(sys.argv[1:])"
    for package in ("fastapi", "python_multipart"):
        done = subprocess.run(
            [sys.executable, "-c", program, package, "serve", "--gallery", str(shared_gallery)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: this command needs {package}, which is not installed: "), done.stderr
        assert done.stderr.rstrip().endswith("pip install '.[serve]'")
        assert len(done.stderr.splitlines()) == 1


def test_what_it_refuses_to_start_with(shared_gallery: Path, tmp_path: Path) -> None:
    assert "no: no gallery there" in refused("serve", "--gallery", tmp_path / "no")
    assert "missing option '--gallery'" in refused("serve", status=2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused("serve", "--gallery", shared_gallery, "--port", port)
        assert line == (
            f"error: 127.0.0.1:{port} is taken by another program: choose another with --port, or stop that program"
        )
    assert "other machines could use the service without a token: make one first" in refused(
        "serve", "--gallery", shared_gallery, "--host", "0.0.0.0", "--port", 0
    )
    assert "198.51.100.7:0 is no address of this machine" in refused(
        "serve", "--gallery", shared_gallery, "--host", "198.51.100.7", "--port", 0, "--trust-proxy-header", "X-User"
    )
    assert "--allowed-host reid.example: other machines could use the service without a token: make one" in refused(
        "serve", "--gallery", shared_gallery, "--allowed-host", "reid.example", "--port", 0
    )
    missing = tmp_path / "typo.json"
    assert refused("serve", "--gallery", shared_gallery, "--tokens", missing, "--port", 0) == (
        f"error: {missing}: no file of tokens there, and without tokens everybody on this machine may do everything: "
        f"make a token first with `reid serve token add NAME --role search --tokens {missing}`, or leave --tokens out"
    )
    damaged = tmp_path / "tokens.json"
    damaged.write_text("{}")
    damaged.chmod(0o600)
    assert "not a file of tokens, or a damaged one" in refused(
        "serve", "--gallery", shared_gallery, "--tokens", damaged, "--port", 0
    )
    damaged.chmod(0o644)
    assert "run `chmod 600" in refused("serve", "--gallery", shared_gallery, "--tokens", damaged, "--port", 0)


def test_a_service_for_others_with_a_token(gallery: Path) -> None:
    token = call("serve", "token", "add", "desk", "--role", "review", "--gallery", gallery)[1].strip()
    with served("--gallery", gallery, "--host", "0.0.0.0") as (_, address, lines):
        port = address.rpartition(":")[2]
        assert lines[-1] == "who may use it: 1 token"
        here = f"http://127.0.0.1:{port}/api/v1/whoami"
        assert httpx.get(here).status_code == 401
        assert httpx.get(here, headers=bearer(token)).json() == {"name": "desk", "role": "review"}
        assert call("serve", "token", "revoke", "desk", "--gallery", gallery)[0] == 0
        assert httpx.get(here, headers=bearer(token)).status_code == 401


def test_a_service_whose_last_token_was_revoked_says_that_nobody_may_use_it(gallery: Path) -> None:
    call("serve", "token", "add", "desk", "--gallery", gallery)
    call("serve", "token", "revoke", "desk", "--gallery", gallery)
    with served("--gallery", gallery, "--allowed-host", "reid.example") as (_, address, lines):
        assert lines[-1].startswith(
            f"who may use it: nobody, because {gallery / 'tokens.json'} has no tokens: make one"
        )
        assert httpx.get(f"{address}/api/v1/whoami").status_code == 401


def test_a_trusted_proxy_is_said_aloud(gallery: Path) -> None:
    with served("--gallery", gallery, "--trust-proxy-header", "X-User") as (_, address, lines):
        assert any(line.startswith("warning: whoever can reach this port can be anybody") for line in lines)
        assert httpx.get(f"{address}/api/v1/whoami").status_code == 401
        about = httpx.get(f"{address}/api/v1/whoami", headers={"X-User": "ana@site"}).json()
        assert (about["name"], about["role"]) == ("ana@site", "search")


def test_tokens(gallery: Path) -> None:
    file = gallery / "tokens.json"
    made = json.loads(call("serve", "token", "add", "anna", "--gallery", gallery, "--json")[1])
    assert (made["name"], made["role"]) == ("anna", "search")
    assert made["token"].startswith("reid_")
    assert len(made["token"]) == 48
    assert made["token"] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert call("serve", "token", "add", "ada", "--role", "admin", "--tokens", file)[0] == 0
    listed = call("serve", "token", "list", "--gallery", gallery)[1].splitlines()
    assert [line.split()[:2] for line in listed] == [["anna", "search"], ["ada", "admin"]]
    assert [one.name for one in read_tokens(file)] == ["anna", "ada"]
    assert "a token is called 'anna' already" in refused("serve", "token", "add", "anna", "--gallery", gallery)
    assert "no token is called 'ann' (did you mean 'anna'?)" in refused(
        "serve", "token", "revoke", "ann", "--gallery", gallery
    )
    for name in ("", "../x", "a b", "a\nb", "-a", "x" * 65, "ü"):
        assert "token name" in refused("serve", "token", "add", "--gallery", gallery, "--", name)
    assert call("serve", "token", "revoke", "anna", "--gallery", gallery)[1] == "the token 'anna' (search) is revoked\n"
    assert "where are the tokens" in refused("serve", "token", "list", "--gallery", "milvus://x:1/y", status=2)
    assert "no gallery there" in refused("serve", "token", "list", "--gallery", gallery / "no")


def test_a_write_that_was_acknowledged_survives_kill(gallery: Path) -> None:
    with served("--gallery", gallery) as (process, address, _):
        said = httpx.post(f"{address}/api/v1/people/person-000001/name", json={"name": "Rosa"})
        made = httpx.post(
            f"{address}/api/v1/records", data={"camera": "gate"}, files=[("picture", ("a.jpg", jpeg("green", 0.9)))]
        )
        assert (said.status_code, made.status_code) == (200, 201)
        process.kill()
        process.wait()
    with Gallery.open(gallery) as store:
        assert store.people.read().names[1] == "Rosa"
        assert store.held([made.json()["id"]])[made.json()["id"]].record.camera == "gate"
        assert store.check().sound
