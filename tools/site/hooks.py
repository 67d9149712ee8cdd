"""What the site has beside the pages in docs/. mkdocs calls these functions (mkdocs.yml, ``hooks``)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # the pages describe this checkout, whatever is installed

import command_pages
import llms
import outside
import python_pages
import rest_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation, Section
from mkdocs.structure.pages import Page

TEXTS: dict[str, str] = {}
"""The Markdown of each page by its address, as this build goes along."""

SECTIONS: dict[str, list[str]] = {}
"""The addresses of the pages by the title of their part of the navigation."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code, the pages outside docs/, and the files that pages link to."""
    made = {
        **command_pages.pages(),
        **python_pages.pages(),
        **rest_pages.pages(),
        **outside.readme_pages(config.repo_url),
    }
    for address, text in made.items():
        files.append(File.generated(config, address, content=text))
    for source, address in outside.PAGES.items():
        text = (outside.ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, address, content=outside.on_site(text, source, config.repo_url)))
    for address, path in outside.copied_files(config.repo_url).items():
        files.append(File.generated(config, address, abs_src_path=str(path)))
    return files


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> Navigation:
    """Remember the parts of the navigation, for llms.txt."""
    SECTIONS.clear()
    for part in nav.items:
        SECTIONS[str(part.title)] = [page.file.src_uri for page in below(part)]
    return nav


def below(item: object) -> list[Page]:
    """The pages of a part of the navigation, in its order."""
    if isinstance(item, Section):
        return [page for child in item.children for page in below(child)]
    return [item] if isinstance(item, Page) else []


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Change the links of a page of docs/ as ``outside`` says, and remember its text for llms.txt."""
    address = page.file.src_uri
    if not page.file.generated_by:
        markdown = outside.on_site(markdown, f"docs/{address}", config.repo_url)
    if address.startswith("reference/") or address in llms.OPTIONAL:
        page.meta["search"] = {"boost": 0.001}  # a word in a guide counts as a title of these
    if address == "index.md":
        page.meta["hide"] = ["navigation", "toc"]  # the start page has the table of what to read, and needs the room
    TEXTS[address] = python_pages.as_text(markdown)
    return markdown


def on_post_build(config: MkDocsConfig) -> None:
    """Write llms.txt, llms-full.txt and the pages as Markdown."""
    base = config.site_url or ""
    llms.write(Path(config.site_dir), config.site_name, config.site_description or "", base, SECTIONS, TEXTS)
