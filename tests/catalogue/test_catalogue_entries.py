"""The models that are listed: every field of every one."""

import json
import re
import string
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from reid_toolkit.adopt.contract import PRESETS
from reid_toolkit.catalogue.entries import find_entry, near, read_catalogue
from reid_toolkit.errors import InputError

ENTRIES = read_catalogue()
FREE = {"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-4.0"}
DOCS = Path(__file__).parents[2] / "docs"


def test_names_are_files_names_and_differ() -> None:
    names = [entry.name for entry in ENTRIES]
    assert len(names) == len({name.lower() for name in names}) >= 10
    assert all(re.fullmatch(r"[\w.-]+", name) and not Path(name).suffix for name in names)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_entry_is_whole(entry) -> None:
    assert entry.kind in ("embedder", "detector")
    assert entry.licence in FREE
    assert entry.publisher
    assert entry.output
    for address in (entry.page, entry.licence_text, *(file.address for file in entry.files)):
        assert urlsplit(address).scheme == "https"
        assert urlsplit(address).netloc
    assert 32 <= entry.height <= 2000
    assert 32 <= entry.width <= 2000
    assert (entry.preset in PRESETS) == (entry.kind == "embedder")
    assert (entry.rank1 is None) == (entry.map is None)
    assert (entry.person_label is not None) == (entry.output == "boxes and labels")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_file_has_a_size_and_a_digest(entry) -> None:
    for file in entry.files:
        assert 1000 < file.bytes < 100_000_000
        assert len(file.digest) == {"sha256": 64, "sha384": 96}[file.algorithm]
        assert set(file.digest) <= set(string.hexdigits.lower())
    names = [file.name for file in entry.files]
    stem = names[0].rpartition(".")[0]
    assert names in ([f"{stem}.onnx"], [f"{stem}.xml", f"{stem}.bin"])
    assert "INT8" not in entry.files[0].address


def test_no_two_files_are_one() -> None:
    digests = [file.digest for entry in ENTRIES for file in entry.files]
    assert len(set(digests)) == len(digests)


def test_our_figures_are_those_of_the_study() -> None:
    rows = json.loads((DOCS / "benchmarks" / "adoption.json").read_text())["rows"]
    measured = {row["model"].rpartition(".")[0]: row for row in rows}
    shown = [entry for entry in ENTRIES if entry.rank1 is not None]
    assert len(shown) == 5
    for entry in shown:
        row = measured[entry.name]
        assert entry.preset == row["preset"]
        assert (entry.rank1, entry.map) == (
            round(100 * row["adopted A-B rank-1"], 1), round(100 * row["adopted A-B mAP"], 1),
        )  # fmt: skip


def test_the_page_shows_every_model() -> None:
    page = (DOCS / "models.md").read_text(encoding="utf-8")
    for entry in ENTRIES:
        size = f"{entry.height}x{entry.width} | {entry.bytes / 1e6:.1f}"
        assert f"| `{entry.name}` | {size} |" in page


def test_a_name_that_is_none_is_told_the_nearest() -> None:
    assert find_entry("yolox_s").bytes == 35858002
    with pytest.raises(InputError, match=r"yolox-tiny: no such model \(did you mean 'yolox_tiny'\?\)"):
        find_entry("yolox-tiny")
    with pytest.raises(InputError, match=r"^elephant: no such model: `reid models` lists them$"):
        find_entry("elephant")


@pytest.mark.parametrize(
    ("name", "said"),
    [("0286", " (did you mean 'retail-0286'?)"), ("retail", " (did you mean 'retail-0277' or 'retail-0286'?)"),
     ("RETIAL-0277", " (did you mean 'retail-0277'?)"), ("re", ""), ("", "")],
)  # fmt: skip
def test_a_part_of_a_name_is_near(name: str, said: str) -> None:
    assert near(name, ["retail-0277", "retail-0286"]) == said
