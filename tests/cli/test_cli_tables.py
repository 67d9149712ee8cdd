"""A table has all of its figures, however narrow the terminal is and however long the names are."""

import pytest

from reid_toolkit.cli import tables
from reid_toolkit.cli.tables import print_table

HEADER = ("query → gallery", "rank-1", "queries")
ROW = ("2026-11-22-front-entrance → 2026-11-22-back-entrance", "100.0", "12345")


@pytest.mark.parametrize("width", [80, 40, 20])
def test_names_fold_and_figures_do_not(width: int, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PIPED_WIDTH", width)
    print_table(HEADER, [ROW, (ROW[0], "nobody in common")], fold={HEADER[0]})
    out = capsys.readouterr().out
    assert "…" not in out
    assert "nobody in common" in out
    (figures,) = [line for line in out.splitlines() if "100.0" in line]
    assert "12345" in figures


def test_in_a_pipe_each_row_is_one_line(capsys) -> None:
    print_table(HEADER, [(ROW[0] * 3, *ROW[1:]), ()], fold={HEADER[0]}, title="model [0].onnx")
    title, header, row, empty = capsys.readouterr().out.splitlines()
    assert (title.strip(), header.split()[-1], empty.strip()) == ("model [0].onnx", "queries", "")
    assert row.split()[-2:] == list(ROW[1:])
    assert ROW[0] * 3 in row
