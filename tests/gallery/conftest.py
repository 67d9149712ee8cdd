"""A gallery small enough to compare with the obvious search, and with an index all the same."""

from pathlib import Path

import pytest
from galleries import KINDS, address_of
from gallery_people import make_people

from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.local import search as searcher


@pytest.fixture
def indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gallery of 400 with its index saved, which the first search loads when opened with ``exact_below=100``."""
    monkeypatch.setattr(searcher, "LOAD_AFTER", 0)
    vectors, records = make_people()
    with Gallery.open(tmp_path / "g", exact_below=100) as gallery:
        gallery.add(vectors, records)
        gallery.build_index()
    assert len(list((tmp_path / "g").glob("index*"))) == 3
    return tmp_path / "g"


@pytest.fixture(params=KINDS)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return address_of(request.param, tmp_path)
