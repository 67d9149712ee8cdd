"""Links that are right in the repository, made right on the site.

A page may link to any file of the repository by its relative path, as a code forge shows it. On the site, a Markdown
file outside docs/ is a page of its own (:data:`PAGES`). Any other file is linked at the repository's address; without
an address, the site gets a copy. A link whose text is the name of the page's file gets the title of the page, or of the
part that it leads to.
"""

import posixpath
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "models/README.md": "recipes.md"}
"""Pages outside docs/, and their addresses on the site."""

README_PARTS = {"How well it works": "results.md", "Using it responsibly": "responsible.md"}
"""Parts of README.md that are pages of the site, by their headings. The rest of README.md is said by docs/index.md."""

COPIES = "files"
"""The site's folder for copies."""

LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^][]*)\]\((?P<link>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
CODE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_site(markdown: str, source: str, repository: str | None, address: str | None = None) -> str:
    """The Markdown of the repository's file ``source``, with links for the site. Blocks of code stay as they are.

    ``address`` is the page's address on the site, if it is not that of the whole file.
    """
    folder, here = posixpath.dirname(source), posixpath.dirname(address or address_of(source, None))

    def changed(found: re.Match[str]) -> str:
        image, text, link, anchor = found.group("image", "text", "link", "anchor")
        if "://" in link or link.startswith("mailto:"):
            return found[0]
        target = posixpath.normpath(posixpath.join(folder, link))
        if target == "README.md" and anchor in (parts := {f"#{slug(name)}": name for name in README_PARTS}):
            address, anchor = README_PARTS[parts[anchor]], None
        else:
            address = address_of(target, repository)
        if "://" not in address:
            address = posixpath.relpath(address, here or ".")
        if target.endswith(".md") and text in (target, posixpath.basename(target)):
            text = title(target, anchor or "")
        return f"{image}[{text}]({address}{anchor or ''})"

    parts = CODE.split(markdown)
    return "".join(part if part.startswith("```") else LINK.sub(changed, part) for part in parts)


def readme_pages(repository: str | None) -> dict[str, str]:
    """The pages that are parts of README.md, by their addresses on the site."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = {}
    for heading, address in README_PARTS.items():
        _, found, rest = text.partition(f"\n## {heading}\n")
        assert found, f"README.md has no heading {heading!r}"
        part = re.split(r"\n## |\n\[docs/", rest)[0]
        pages[address] = on_site(f"# {heading}\n{part}", "README.md", repository, address)
    return pages


def slug(heading: str) -> str:
    """The anchor of a heading, as a code forge makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def address_of(target: str, repository: str | None) -> str:
    """Where the repository's file ``target`` is on the site: relative to its root, or a whole address."""
    if target in PAGES:
        return PAGES[target]
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    return f"{repository.rstrip('/')}/blob/main/{target}" if repository else f"{COPIES}/{target}"


@cache
def title(source: str, anchor: str = "") -> str:
    """The heading of a page of the repository, or of the part that an anchor names. What is missing mkdocs reports."""
    path = ROOT / source
    text = CODE.sub("", path.read_text(encoding="utf-8")) if path.exists() else ""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return next((heading for heading in headings if anchor in ("", f"#{slug(heading)}")), path.name)


def copied_files(repository: str | None) -> dict[str, Path]:
    """The files that the site has a copy of, by their address there: those outside docs/ to which pages link."""
    copies = {}
    for source in () if repository else (*ROOT.glob("docs/*.md"), *(ROOT / name for name in PAGES)):
        for found in LINK.finditer(CODE.sub("", source.read_text(encoding="utf-8"))):
            target = (source.parent / found["link"]).resolve()
            if target.is_file() and target.is_relative_to(ROOT) and target.suffix != ".md":
                address = address_of(target.relative_to(ROOT).as_posix(), None)
                if address.startswith(f"{COPIES}/"):
                    copies[address] = target
    return copies
