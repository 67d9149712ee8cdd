import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "gallery.md"


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(compile(example, str(PAGE), "exec"), {})
    assert capsys.readouterr().out.splitlines() == ["1 0.0 door-1", "2 1.4142135623730951 door-2"]
