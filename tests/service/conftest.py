from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from fort import Fort
from serving import client_of, make_gallery, settings_of, tokens_of
from starlette.testclient import TestClient

from reid_toolkit.service.settings import Limits
from reid_toolkit.service.tokens import add_token


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


@pytest.fixture
def fort(shared_fort: Fort) -> Iterator[Fort]:
    """The service that many attacks share. Each begins and ends without a session."""
    yield shared_fort
    shared_fort.client.cookies.clear()


@pytest.fixture(scope="session")
def shared_fort(shared_gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fort]:
    file = tmp_path_factory.mktemp("fort") / "tokens.json"
    names = {"search": "anna", "review": "rita", "admin": "ada"}
    tokens = {role: add_token(file, name, role) for role, name in names.items()}
    limits = Limits(rate=1e6, burst=1e6, guesses=1_000_000, body_bytes=600_000, picture_bytes=200_000, pictures=4)
    secrets = (str(shared_gallery.parent), str(file.parent), *tokens.values())
    with client_of(settings_of(shared_gallery, tokens=file, limits=limits)) as client:
        yield Fort(client, tokens, secrets)
