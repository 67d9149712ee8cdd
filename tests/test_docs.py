"""The pages people read: their commands are commands, their links lead somewhere."""

import re
import runpy
import shlex
import tomllib
from pathlib import Path

import click
import pytest
from tool_parsers import Refused, parser_of

from reid_toolkit.cli.app import reid

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("models/*.md")])


def commands(page: Path) -> list[str]:
    """Lines of code blocks, fenced or indented, that begin with ``reid`` and do not stand for a pattern."""
    lines = re.findall(r"^(?:    |\$ )?(reid [a-z].*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [line for line in lines if "..." not in line and "|" not in line]


TYPED = [(page, line) for page in PAGES for line in commands(page)]


def test_there_are_commands_to_check():
    assert len(TYPED) > 20


@pytest.mark.parametrize(("page", "line"), TYPED, ids=[f"{page.name}: {line}" for page, line in TYPED])
def test_every_command_is_understood(page, line, monkeypatch):
    monkeypatch.setattr("reid_toolkit.catalogue.cache.is_here", lambda _: True)  # whatever model a page takes by name
    command, words = reid, shlex.split(line, comments=True)[1:]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):  # reid gallery info
        name, *words = words
        command = command.get_command(click.Context(command), name)
        assert command is not None, f"no command {name}"
    command.make_context(line, words).close()


def tools(page: Path) -> list[str]:
    """Commands of tools/ with their words, in code blocks and in sentences, without the marks of a pattern."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^(?:    )?(?:[A-Z_]+=\S+ )?(python tools/\w+\.py (?:.*\\\n)*.*)$", text, re.MULTILINE)
    spans = re.findall(r"`(python\s+tools/\w+\.py\s[^`>]+)`", text)
    lines = (re.sub(r"\[[^]]*\]", "", line.replace("\\\n", " ")) for line in [*blocks, *spans])
    return [" ".join(line.replace("...", " ").split()) for line in lines if " ... " not in line]


TYPED_TOOLS = sorted({(page, line) for page in PAGES for line in tools(page)})


def test_there_are_commands_of_tools_to_check():
    assert len(TYPED_TOOLS) > 40


@pytest.mark.parametrize(("page", "line"), TYPED_TOOLS, ids=[f"{page.name}: {line}" for page, line in TYPED_TOOLS])
def test_every_command_of_a_tool_is_understood(page, line):
    _, tool, *words = shlex.split(line)
    parser_of(Path(tool).name).parse_intermixed_args(words)


def test_a_command_that_a_tool_refuses_is_found():
    with pytest.raises(Refused, match="--out"):
        parser_of("bench_demo.py").parse_args(["--folder", "demos"])
    with pytest.raises(Refused, match="unrecognized arguments: --sizes"):
        parser_of("bench_demo.py").parse_args(["--folder", "demos", "--out", "a.json", "--sizes", "1"])
    with pytest.raises(Refused, match="required: --png"):
        parser_of("study_tradeoff.py").parse_args(["data", "--recipe", "r", "--runs", "runs"])


def test_what_the_page_of_troubles_quotes_is_said():
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    code = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "reid_toolkit").rglob("*.py"))
    joined = re.sub(r'"\s*f?"', "", code)  # messages are written over several lines
    quoted = re.findall(r'"([^"\n]{12,})"', page)
    assert len(quoted) > 10
    assert not [words for words in quoted if words not in joined]


def anchors(page: Path) -> set[str]:
    """The places in a page that links can lead to, by GitHub's rule for headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_every_module_that_is_named_is_there(page):
    named = re.findall(r"`((?:\w+/)+\w+\.(?:py|sh|toml))`", page.read_text(encoding="utf-8"))
    assert not [name for name in named if not ((ROOT / name).exists() or (ROOT / "reid_toolkit" / name).exists())]


def test_the_two_lines_of_readme_are_what_ci_runs():
    block = re.search(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert block is not None
    assert len(block[1].splitlines()) == 2
    assert "readme_line" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_readme_names_every_extra_for_users():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    development = runpy.run_path(str(ROOT / "tools" / "licences.py"))["DEVELOPMENT"]
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Install\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == extras.keys() - development


@pytest.mark.parametrize("name", re.findall(r"docs/benchmarks/(\w+\.json)", "\n".join(p.read_text() for p in PAGES)))
def test_every_figure_named_has_its_file(name):
    assert (ROOT / "docs" / "benchmarks" / name).is_file()
