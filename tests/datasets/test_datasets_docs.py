"""docs/data.md says what the code does: its example runs, its tables name what there is."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from reid_toolkit.datasets.manifest import COLUMNS, RECORDING, read_identities, read_manifest
from reid_toolkit.runtime.metadata import FORMAT, ModelMetadata

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def table_after(heading: str) -> str:
    """The first column of the first table below a heading."""
    rows = re.findall(r"^\|([^|]*)\|", PAGE.partition(f"\n## {heading}")[2].partition("\n\n#")[0], re.MULTILINE)
    return "\n".join(rows[2:])


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("python")
    exec(compile(example, "data.md", "exec"), {})
    assert capsys.readouterr().out == "manifest ('north',) ['north-1']\n"


def test_the_files_shown_can_be_read(tmp_path: Path) -> None:
    manifest, identities = blocks("csv")
    for path in re.findall(r"^crops/[^,]+", manifest, re.MULTILINE):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "manifest.csv").write_text(manifest, encoding="utf-8")
    (tmp_path / "who.csv").write_text(identities, encoding="utf-8")
    assert len(read_manifest(tmp_path).crops) == 2
    assert read_identities(tmp_path / "who.csv")["north-1-00007"] == "12"


def test_the_tables_name_everything() -> None:
    assert tuple(re.findall(r"`(\w+)`", table_after("A dataset"))) == (*COLUMNS, RECORDING)
    assert set(re.findall(r"`(\w+)`", table_after("An exported model"))) == {f.name for f in fields(ModelMetadata)}
    assert f"`{FORMAT}`" in PAGE
