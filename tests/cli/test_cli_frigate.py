"""``reid frigate`` against the stub of Frigate."""

import os
from pathlib import Path

import pytest
from frigate_server import Frigate, frigate


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def test_it_stores_events_and_says_so(tmp_path: Path, reid, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Frigate(login=("ann", "secret"))
    held.cameras["gate"] = {}
    held.add("a")
    held.add("b", camera="gate", clean="snapshot.jpg")
    with frigate(held) as address:
        words = ("frigate", address, "--out", tmp_path / "set")
        assert "Frigate asks for a login" in reid(*words).error
        assert reid(*words, "--user", "ann").status == 2
        monkeypatch.setenv("REID_FRIGATE_PASSWORD", "secret")
        done = reid(*words, "--user", "ann")
        assert done.out == (
            f"{tmp_path / 'set'}: 2 tracklets from 2 events; 0 were there before; 0 are in progress\n"
            "  north: 1 tracklet\n  gate: 1 tracklet\n"
        )
        assert "1 snapshots may have the box drawn into them" in done.err
        again = reid(*words, "--user", "ann", "--camera", "gate", "--json").json
        assert (again["events"], again["stored"], again["skipped"]) == (1, 0, 1)
        assert reid(*words, "--user", "ann", "--after", "2020-01-01", "--json").json["events"] == 2
        assert reid(*words, "--user", "ann", "--before", "2020-01-01", "--json").json["events"] == 0


def test_what_it_refuses(tmp_path: Path, reid) -> None:
    assert "cannot be reached" in reid("frigate", "http://127.0.0.1:9", "--retry", 0, "--out", tmp_path / "set").error
    assert reid("frigate", "nvr", "--out", tmp_path / "set", "--after", "soon").status == 2
    assert not (tmp_path / "set").exists()
    assert "read by `reid frigate`" in reid("ingest", "frigate://nvr", "--out", tmp_path / "set").error
