"""The site that ``mkdocs build`` makes of docs/: whole, without a network, and refused if a page or a link is wrong."""

import importlib
import re
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

from reid_toolkit.cli.app import COMMANDS, reid

pytest.importorskip("material")
ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tools" / "site"


class Tags(HTMLParser):
    """What a page of HTML names: its anchors, where its links lead, and what a browser fetches to show it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.anchors |= {named.get("id") or "", named.get("name") or ""}
        if tag == "a" and named.get("href"):
            self.links.append(named["href"] or "")
        elif tag == "link" or named.get("src"):
            self.fetched.append(named.get("src") or named.get("href") or "")


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Tags]:
    return {path: Tags(path) for path in site.rglob("*.html")}


def test_each_page_of_the_docs_is_there(pages: dict[Path, Tags], site: Path) -> None:
    names = {path.relative_to(site).as_posix() for path in pages}
    assert names >= {f"{page.stem}.html" for page in ROOT.glob("docs/*.md")}
    assert names >= {"contributing.html", "changelog.html", "recipes.html", "results.html", "responsible.html"}


def test_each_link_leads_to_a_file_and_to_a_place_in_it(pages: dict[Path, Tags], site: Path) -> None:
    wrong = []
    for path, tags in pages.items():
        for link in tags.links:
            name, _, anchor = link.partition("#")
            if "://" in link or (path.name == "404.html" and name.startswith("/")):
                continue
            target = (path.parent / unquote(name)).resolve() if name not in ("", ".") else path
            if not target.is_file() or (anchor and target in pages and unquote(anchor) not in pages[target].anchors):
                wrong.append(f"{path.relative_to(site)}: {link}")
    assert not wrong


def test_a_page_fetches_nothing_from_elsewhere(pages: dict[Path, Tags]) -> None:
    fetched = {address for tags in pages.values() for address in tags.fetched}
    assert len(fetched) > 10
    assert not [address for address in fetched if re.match(r"(\w+:)?//", address)]


def test_what_a_page_fetches_is_there(pages: dict[Path, Tags]) -> None:
    missing = {
        address
        for path, tags in pages.items()
        for address in tags.fetched
        if not address.startswith(("/", "data:")) and not (path.parent / address.partition("?")[0]).exists()
    }
    assert not missing


def test_the_search_has_all_pages_and_needs_no_server(pages: dict[Path, Tags], site: Path) -> None:
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert index.startswith("var __index = {")
    for path in pages:
        assert path.name == "404.html" or f'"location":"{path.relative_to(site).as_posix()}"' in index


def commands(command: click.Command, path: str) -> dict[str, click.Command]:
    found = {path: command}
    for name in command.commands if isinstance(command, click.Group) else ():
        found |= commands(command.commands[name], f"{path} {name}")
    return found


@pytest.fixture(scope="module")
def sections(site: Path) -> dict[str, str]:
    """The text of the reference of commands by command."""
    found: dict[str, str] = defaultdict(str)
    for page in (site / "reference" / "commands").glob("*.md"):
        for part in re.split(r"^#+ (?=reid )", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            found[part.partition(" {")[0]] += part
    return found


def plain(text: str) -> str:
    return " ".join(re.sub(r"[`\\]", "", text).split())


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_and_option_is_in_the_reference(name: str, sections: dict[str, str]) -> None:
    command = reid.get_command(click.Context(reid), name)
    assert command is not None
    for path, inner in commands(command, f"reid {name}").items():
        text = sections[path].replace("\\|", "|")
        assert text.count("data-toc-label") == 1, path
        for parameter in inner.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert all(re.search(rf"\| `[^`]*{option}\b", text) for option in parameter.opts), parameter.opts
                assert plain(parameter.help or "") in plain(text), parameter.opts


def test_the_reference_of_python_has_what_the_packages_export(
    monkeypatch: pytest.MonkeyPatch, pages: dict[Path, Tags], site: Path
) -> None:
    monkeypatch.syspath_prepend(TOOLS)
    made = importlib.import_module("python_pages")
    for page, part in made.PAGES.items():
        exported = getattr(importlib.import_module(part.module), "__all__", None)
        if exported and part.module != "reid_toolkit":
            assert sorted(part.names) == sorted(exported)
        anchors = pages[site / "reference" / "python" / f"{page}.html"].anchors
        assert not [name for name in part.names if made.place(part.module, name) not in anchors]
        text = (site / "reference" / "python" / f"{page}.md").read_text(encoding="utf-8")
        assert ":::" not in text
        assert not [name for name in part.names if f"\n## {name}\n" not in text]


def test_docstrings_are_shown_as_text(site: Path) -> None:
    shown = "".join(path.read_text(encoding="utf-8") for path in (site / "reference" / "python").glob("*.html"))
    assert shown
    assert not re.findall(r":(?:class|func|meth|data|attr):", shown)


def test_llms_txt_has_the_form_of_llmstxt_org(site: Path) -> None:
    lines = (site / "llms.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# reid"
    assert lines[2].startswith("> ")
    assert all(re.fullmatch(r"(## .+|- \[[^]]+\]\([^)\s]+\): .+|)", line) for line in lines[3:])
    parts = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    assert parts[0] == "Start"
    assert parts[-1] == "Optional"


def test_llms_txt_names_each_page_of_the_navigation_once(site: Path, pages: dict[Path, Tags]) -> None:
    listed = re.findall(r"\]\(([^)]+)\)", (site / "llms.txt").read_text(encoding="utf-8"))
    assert all((site / name).read_text(encoding="utf-8").lstrip() for name in listed)
    assert sorted(name.removesuffix(".md") for name in listed) == sorted(
        path.relative_to(site).with_suffix("").as_posix() for path in pages if path.name != "404.html"
    )


def test_llms_full_txt_holds_the_pages_but_for_the_optional_ones(site: Path) -> None:
    listed, _, optional = (site / "llms.txt").read_text(encoding="utf-8").partition("## Optional")
    full = (site / "llms-full.txt").read_text(encoding="utf-8")
    for part, there in ((listed, True), (optional, False)):
        names = re.findall(r"\]\(([^)]+)\)", part)
        assert names
        for name in names:
            assert ((site / name).read_text(encoding="utf-8") in full) is there, name


def test_the_start_page_says_what_readme_says() -> None:
    readme, start = (
        re.sub(r"\]\((docs/)?", "](", (ROOT / name).read_text(encoding="utf-8"))
        for name in ("README.md", "docs/index.md")
    )
    said = re.split(r"\n\n", start.partition("## What do you want to do?")[0])
    own = [paragraph for paragraph in said if paragraph.strip() and paragraph.strip() not in readme]
    assert own == [paragraph for paragraph in said if paragraph.startswith("<img")]
    image = re.search(r'<img [^>]*src="([^"]+)" alt="([^"]+)"', start)
    assert image is not None
    assert f"![{image[2]}]({image[1]})" in readme


SMALL_SITE = f"""
INHERIT: {ROOT / "mkdocs.yml"}
nav: [index.md, gallery.md]
plugins: []
hooks: [hook.py]
"""
"""A site of two pages, with the rules of the whole one about warnings."""

HOOK = f"""
import sys
sys.path.insert(0, {str(TOOLS)!r})
import outside


def on_page_markdown(markdown, page, config, files):
    return outside.on_site(markdown, f"docs/{{page.file.src_uri}}", config.repo_url)
"""
"""Changes links as the hooks of the whole site do, and makes no references, which take most of a build."""


def test_a_wrong_page_fails_the_build_and_says_why(tmp_path: Path, build) -> None:
    settings, docs = tmp_path / "mkdocs.yml", tmp_path / "docs"
    settings.write_text(SMALL_SITE)
    (tmp_path / "hook.py").write_text(HOOK)
    docs.mkdir()
    (docs / "index.md").write_text("# Start\n\nSee [the gallery](gallery.md#gallery).\n")
    (docs / "gallery.md").write_text("# Gallery\n")
    done = build(tmp_path / "site", settings)
    assert done.returncode == 0, done.stderr
    (docs / "lost.md").write_text(
        "# Lost\n\nNot in the navigation. [No page](nowhere.md), [no place](gallery.md#nowhere), "
        "[no file](../tools/nowhere.py).\n"
    )
    done = build(tmp_path / "site", settings)
    assert done.returncode == 1
    assert re.search(r"exist in the docs directory, but are not included in the \"nav\".*\n +- lost.md", done.stderr)
    for wrong in ("'nowhere.md'", "'gallery.md#nowhere'", "'files/tools/nowhere.py'"):
        assert re.search(rf"WARNING.*'lost.md'.*{wrong}", done.stderr), wrong


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("outside")


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        ("", "[a](files/tools/x.py) [b](recipes.md#x) [c](edge.md) [d](responsible.md) [e](https://x.example/y.md)"),
        (
            "https://forge.example/o/r/",
            "[a](https://forge.example/o/r/blob/main/tools/x.py) [b](recipes.md#x) [c](edge.md) [d](responsible.md) "
            "[e](https://x.example/y.md)",
        ),
    ],
)
def test_links_out_of_docs(outside, repository: str, expected: str) -> None:
    links = "[a](../tools/x.py) [b](../models/README.md#x) [c](edge.md) [d](../README.md#using-it-responsibly) "
    assert outside.on_site(f"{links}[e](https://x.example/y.md)", "docs/page.md", repository) == expected


def test_links_in_pages_from_outside(outside) -> None:
    links = "[a](docs/edge.md#int8) [b](models/README.md)"
    assert outside.on_site(links, "README.md", "", "responsible.md") == "[a](edge.md#int8) [b](recipes.md)"
    assert outside.on_site("[a](../docs/edge.md) [b](dbc.toml)", "models/README.md", "") == (
        "[a](edge.md) [b](files/models/dbc.toml)"
    )


def test_a_link_with_the_name_of_a_file_gets_its_title_and_code_stays(outside) -> None:
    assert outside.on_site("([edge.md](edge.md))", "docs/page.md", "") == "([The edge](edge.md))"
    assert outside.on_site("([docs/edge.md](docs/edge.md))", "CHANGELOG.md", "") == "([The edge](edge.md))"
    assert outside.on_site("([edge.md](edge.md#int8))", "docs/page.md", "") == "([INT8](edge.md#int8))"
    assert outside.on_site("([edge.md](edge.md#nowhere))", "docs/page.md", "") == "([edge.md](edge.md#nowhere))"
    assert outside.on_site("```\n[a](../x.py)\n```\n", "docs/page.md", "") == "```\n[a](../x.py)\n```\n"


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("# A\n\nThis sentence is long enough to say what the page is good for. Two.\n", "This sentence is long enough "
         "to say what the page is good for."),
        ("# A\n\nShort. Then `code` follows ([b.md](b.md)) and goes on:\n\n    more\n", "Short. Then `code` follows "
         "and goes on"),
        ("# A\n\n```sh\nreid x\n```\n\n<img src=\"x\">\n\n| a |\n|---|\n\nText.\n", "Text."),
        ("# A\n\n    reid x\n\n![B](c.png)\n\n*Text.*\n", "*Text.*"),
    ],
)  # fmt: skip
def test_a_page_is_described_by_its_first_words(monkeypatch: pytest.MonkeyPatch, page: str, expected: str) -> None:
    monkeypatch.syspath_prepend(TOOLS)
    assert importlib.import_module("llms").lead(page) == expected
