"""The page without a browser: its files, its frame, and what a user of each role gets."""

import html
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from serving import client_of, make_gallery, settings_of, tokens_of
from starlette.testclient import TestClient

from reid_toolkit.service.pages.files import static_files, version
from reid_toolkit.service.pages.routes import templates

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "reid_toolkit" / "service" / "pages"
FILES = sorted([*(PAGES / "templates").iterdir(), *(PAGES / "static").iterdir()])
VIEWS = ["/", "/people", "/people/Ana", "/people/a%2Fb", "/review", "/cameras", "/days"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory):
    gallery = make_gallery(tmp_path_factory.mktemp("page"), names={3: "Ana"})
    with client_of(settings_of(gallery)) as client:
        yield client


def test_the_package_carries_templates_and_static_files() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"][
        "reid_toolkit"
    ]
    files = [*(PAGES / "templates").iterdir(), *(PAGES / "static").iterdir()]
    assert len(files) > 15
    names = [path.relative_to(ROOT / "reid_toolkit").as_posix() for path in files]
    assert not [name for name in names if not any(fnmatch(name, pattern) for pattern in patterns)]
    assert set(static_files()) == {path.name for path in (PAGES / "static").iterdir()}


@pytest.mark.parametrize("name", sorted(path.name for path in (PAGES / "templates").iterdir()))
def test_each_template_can_be_compiled(name: str) -> None:
    templates().get_template(name)


@pytest.mark.parametrize(
    "path", [*(PAGES / "templates").iterdir(), *(PAGES / "static").iterdir()], ids=lambda p: p.name
)
def test_nothing_is_fetched_from_elsewhere_or_written_inline(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"//(?!www\.w3\.org/)[a-z0-9-]+\.[a-z]{2,}", text)
    assert "innerHTML" not in text
    if path.suffix == ".html":
        assert not re.search(r"<style|style=|\son[a-z]+=|<script(?![^>]*src=)", text)


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_names_files_that_are_there_for_ever(client: TestClient, view: str) -> None:
    answer = client.get(view)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    found = re.findall(r'(?:href|src)="(/static/[^"]+)"', answer.text)
    assert len(found) == 4
    for address in found:
        file = client.get(address)
        assert file.status_code == 200
        assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert file.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["..%2froutes.py", "%2e%2e/routes.py", "routes.py", "", "REID.CSS"])
def test_no_other_file_is_given(client: TestClient, name: str) -> None:
    assert client.get(f"/static/{version()}/{name}").status_code in (404, 405)


def test_a_file_of_another_version_is_not_given(client: TestClient) -> None:
    assert client.get("/static/000000000000/reid.css").status_code == 404


def test_scripts_import_only_what_is_there() -> None:
    for name, file in static_files().items():
        for imported in re.findall(r'from "\./([^"]+)"', file.content.decode()):
            assert imported in static_files(), name


def test_a_script_takes_from_another_only_what_it_offers() -> None:
    texts = {name: file.content.decode() for name, file in static_files().items() if name.endswith(".js")}
    offer = re.compile(r"^export (?:async )?(?:function|const|class) (\$|\w+)", re.MULTILINE)
    for name, text in texts.items():
        body = re.sub(r"^import [^;]*;", "", text, flags=re.MULTILINE)
        for taken, other in re.findall(r'import \{([^}]*)\} from "\./([^"]+)"', text):
            wanted = {one.strip() for one in taken.split(",") if one.strip()}
            assert wanted <= set(offer.findall(texts[other])), name
            assert not [one for one in wanted if not re.search(rf"(?<![\w$]){re.escape(one)}(?![\w$])", body)], name


def test_whatever_changes_people_is_given_the_time_that_it_may_take() -> None:
    """The service runs these calls in the pool for what may take minutes."""
    for name, file in static_files().items():
        calls = re.findall(r"\bapi\((.*method: .*)", file.content.decode())
        assert not [call for call in calls if not call.startswith('"/search"')], name


def test_without_tokens_there_is_nothing_to_sign_in_to(client: TestClient) -> None:
    assert client.get("/login").headers["location"] == "/"
    assert "Sign out" not in client.get("/").text


def test_live_events_have_a_page_only_if_the_service_follows_them(tmp_path: Path) -> None:
    gallery = make_gallery(tmp_path)
    html = {"accept": "text/html"}
    with client_of(settings_of(gallery)) as client:
        answer = client.get("/live", headers=html)
        assert answer.status_code == 404
        assert "without --events" in answer.text
        assert 'href="/live"' not in client.get("/").text
    with client_of(settings_of(gallery, events=tmp_path / "events.jsonl")) as client:
        assert client.get("/live", headers=html).status_code == 200
        assert 'href="/live"' in client.get("/").text


def test_a_stranger_is_sent_to_sign_in_and_learns_nothing(tmp_path: Path) -> None:
    gallery = make_gallery(tmp_path)
    tokens_of(gallery)
    with client_of(settings_of(gallery)) as client:
        for view in VIEWS:
            answer = client.get(view)
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/login")
        missing = client.get("/nothing", headers={"accept": "text/html"})
        assert missing.status_code == 404
        assert gallery.name not in missing.text
        form = client.get("/login?failed=1&next=%22%3E%3Cscript%3E")
        assert form.status_code == 401
        assert "<script>" not in form.text


@pytest.mark.parametrize(
    "view",
    ["/people/Ana%20Maria", "/people/J%C3%BCrgen", "/people/a/b", "/people/50%25%3F%23", "/people?q=J%C3%BC%20x&a=1"],
)
def test_signing_in_leads_back_to_every_name(guarded: TestClient, tokens: dict[str, str], view: str) -> None:
    asked = guarded.get(view).headers["location"]
    (goal,) = re.findall(r'name="next" value="([^"]*)"', guarded.get(asked).text)
    form = {"token": tokens["search"], "next": html.unescape(goal)}
    assert guarded.post("/login", data=form).headers["location"] == view


def test_a_goal_that_is_too_long_keeps_nobody_from_signing_in(guarded: TestClient, tokens: dict[str, str]) -> None:
    long = "/people?q=" + "x" * 3000
    assert guarded.get(long).headers["location"] == "/login"
    form = guarded.get("/login", params={"next": long})
    assert (form.status_code, "xxx" in form.text) == (200, False)
    answer = guarded.post("/login", data={"token": tokens["search"], "next": long})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_name_in_the_address_is_escaped(client: TestClient) -> None:
    page = client.get('/people/"><script>alert(1)</script>').text
    assert "<script>alert" not in page
    assert "&#34;&gt;&lt;script&gt;" in page
