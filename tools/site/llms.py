"""llms.txt: the docs as one list of Markdown files, for programs that read (llmstxt.org).

Beside each page ``NAME.html`` of the site lies its text ``NAME.md``. ``llms.txt`` lists these files in the order of the
navigation, each with the first words of the page. ``llms-full.txt`` holds the text of all of them, without those of
:data:`OPTIONAL`, which a reader with little room leaves out first.
"""

import re
from pathlib import Path

OPTIONAL = ("benchmarks.md", "changelog.md")
"""Long pages that few questions need."""

CODE = re.compile(r"^```[\s\S]*?^```$|^    .*$", re.MULTILINE)
ASIDE = re.compile(r"\s*\(\[[^][]*\]\([^)]*\)\)")
LINK = re.compile(r"!?\[([^][]*)\]\([^)]*\)")
ENOUGH = 60
"""A page is described by its first sentences, until they have so many characters."""


def write(
    site: Path, name: str, summary: str, base: str, sections: dict[str, list[str]], texts: dict[str, str]
) -> None:
    """Write all files below ``site``.

    Args:
        site: the folder of the built site.
        name: the project's name.
        summary: the project in one sentence.
        base: the site's address, with "/" at the end; empty for relative addresses.
        sections: the pages' addresses by the title of their part of the navigation.
        texts: the Markdown of each page by its address.
    """
    for address, text in texts.items():
        (site / address).write_text(text, encoding="utf-8")
    head = f"# {name}\n\n> {summary}\n"
    listed = {part: [page for page in pages if page not in OPTIONAL] for part, pages in sections.items()}
    listed["Optional"] = [page for pages in sections.values() for page in pages if page in OPTIONAL]
    parts = [
        f"\n## {part}\n\n" + "".join(f"- [{title(texts[page])}]({base}{page}): {lead(texts[page])}\n" for page in pages)
        for part, pages in listed.items()
        if pages
    ]
    (site / "llms.txt").write_text(head + "".join(parts), encoding="utf-8")
    whole = [texts[page] for part, pages in listed.items() if part != "Optional" for page in pages]
    (site / "llms-full.txt").write_text("\n\n".join([head, *whole]), encoding="utf-8")


def title(text: str) -> str:
    """The first heading of a page."""
    heading = re.search(r"^# (.*)$", text, re.MULTILINE)
    assert heading, f"a page without a heading: {text[:60]!r}"
    return heading[1]


def lead(text: str) -> str:
    """The first words of a page: whole sentences of its first paragraph, without links and bold letters."""
    body = CODE.sub("", text[text.index("# ") :].partition("\n")[2])
    for paragraph in re.split(r"\n\s*\n", body):
        plain = LINK.sub(r"\1", ASIDE.sub("", " ".join(paragraph.replace("**", "").split())))
        if plain and paragraph.lstrip()[0] not in "#|<!-":
            said, *rest = re.split(r"(?<=[a-z)`\"?][.?!]) (?=[A-Z`])|(?<=\?\"\.) ", plain)
            while len(said) < ENOUGH and rest:
                said = f"{said} {rest.pop(0)}"
            return said.rstrip(":")
    raise AssertionError(f"a page without a sentence: {text[:60]!r}")
