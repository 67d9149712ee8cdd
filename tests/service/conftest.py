from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from serving import client_of, make_gallery, settings_of, tokens_of
from starlette.testclient import TestClient


@pytest.fixture(scope="session")
def shared_gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery that no test changes: red, green and blue, who is called Ana."""
    return make_gallery(tmp_path_factory.mktemp("shared"), names={3: "Ana"})


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """A gallery of the test's own, with three people; the third is called Ana."""
    return make_gallery(tmp_path, names={3: "Ana"})


@pytest.fixture
def tokens(gallery: Path) -> dict[str, str]:
    """A token of each role, by role."""
    return tokens_of(gallery)


@pytest.fixture
def local(gallery: Path) -> Iterator[TestClient]:
    """A client of a service without tokens: everybody is admin."""
    with client_of(settings_of(gallery)) as client:
        yield client


@pytest.fixture
def guarded(gallery: Path, tokens: dict[str, str]) -> Iterator[TestClient]:
    """A client of a service with tokens."""
    with client_of(settings_of(gallery)) as client:
        yield client
