"""What tools say of the machine and of their own memory."""

import json
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(TOOLS)
    import machine

    return machine


def test_a_command_can_be_typed_again_and_has_no_path_of_this_machine(
    machine: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ["--data", "later stage", "--out", str(tmp_path / "a b.json"), "runs/x"]
    monkeypatch.setattr(sys, "argv", ["/somewhere/tools/bench.py", *words])
    found = machine.origin("no GPU used")
    assert found["command"] == "python tools/bench.py --data 'later stage' --out 'a b.json' runs/x"
    assert found["machine"].endswith(" cores, no GPU used")
    machine.save(tmp_path / "a.json", found)
    assert json.loads((tmp_path / "a.json").read_text()) == found


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads memory in /proc")
def test_a_peak_is_of_the_work_that_follows(machine: ModuleType) -> None:
    np.ones(200_000_000, np.uint8).sum()  # freed again
    held = machine.forget_peak()
    assert machine.memory("VmHWM") - held < 50e6
    np.ones(100_000_000, np.uint8).sum()
    assert 90e6 < machine.memory("VmHWM") - held < 150e6
    assert machine.resident(os.getpid()) > 10e6
    assert machine.resident(2**22 + 1) == 0, "no process has this number"
