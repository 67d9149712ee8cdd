"""reid demo --serve: what comes after the demo itself."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from serving import make_gallery

from reid_toolkit.cli.serve import has_screen

WITHOUT_EXTRA = """
import sys
sys.modules["fastapi"] = None
from reid_toolkit.cli import demo, main
demo.walk = lambda *_: sys.exit("the demo was run")
main(["demo", "--serve"])
"""
WITHOUT_WALK = """
from reid_toolkit.cli import demo, main
demo.walk = lambda *_: {}
demo.print_summary = lambda summary: None
main(["demo", "--serve", "--out", %r])
"""


def test_without_the_extra_it_says_so_before_it_begins() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_EXTRA], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: this command needs fastapi, which is not installed")
    assert len(done.stderr.splitlines()) == 1


def test_the_people_are_grouped_and_shown_until_it_is_stopped(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="grouping needs torch")
    make_gallery(tmp_path, grouped=False)
    hidden = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    process = subprocess.Popen(
        [sys.executable, "-c", WITHOUT_WALK % str(tmp_path)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=hidden,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        lines = []
        for line in process.stderr:
            lines.append(line.strip())
            if line.startswith("no tokens"):
                break
        said = "\n".join(lines)
        assert "$ reid people group" in said
        assert "$ reid serve --gallery" in said
        address = next(line.split()[0] for line in lines if line.startswith("http"))
        assert httpx.get(f"{address}people").status_code == 200
        assert httpx.get(f"{address}api/v1/people").json()["people"]
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=30)
        assert (process.returncode, rest.splitlines()[-1]) == (0, "stopped")
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("platform", "environment", "opens"),
    [
        ("linux", {}, False), ("linux", {"DISPLAY": ":0"}, True), ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("linux", {"DISPLAY": ":0", "SSH_CONNECTION": "far away"}, False), ("darwin", {}, True), ("win32", {}, True),
    ],
)  # fmt: skip
def test_a_browser_is_opened_only_where_somebody_sees_it(
    monkeypatch: pytest.MonkeyPatch, platform: str, environment: dict[str, str], opens: bool
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert has_screen() is opens
