"""Galleries of drawn descriptors, in which it is known who is who."""

from pathlib import Path

import pytest
from drawn_site import PEOPLE, Site

from reid_toolkit.gallery import Gallery


@pytest.fixture
def site() -> Site:
    return Site(PEOPLE)


@pytest.fixture
def gallery(site: Site, tmp_path: Path) -> Gallery:
    with Gallery.open(tmp_path / "g") as store:
        site.enroll(store)
        yield store
