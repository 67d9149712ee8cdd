"""The reference of Python: pages made from the docstrings of the names that other programs may rely on."""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import griffe
from docstrings import Docstrings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "reference/python"
WIDTH = 76
"""Characters in a line of code."""


class Part(NamedTuple):
    """A page: what its names do, the module to import them from, and the names."""

    title: str
    lead: str
    module: str
    names: tuple[str, ...]


PAGES = {
    "runtime": Part(
        "Descriptors", "Turn crops of people into descriptors. PyTorch is not needed.",
        "reid_toolkit.runtime", ("Embedder", "TrackletAverage"),
    ),
    "gallery": Part(
        "Galleries", "Store descriptors with their records, and find the nearest.",
        "reid_toolkit.gallery", ("Gallery", "open_gallery", "GalleryStore", "Filter", "Page"),
    ),
    "search": Part(
        "Enrolling and searching", "Enroll datasets and pictures, and search for people, as the commands do.",
        "reid_toolkit.search",
        ("enroll", "units_of", "Query", "Search", "Result", "Answer", "Unit", "Enrolment", "Asked", "Confidence",
         "ConfidenceScale"),
    ),
    "calibration": Part(
        "Probabilities", "Turn distances into probabilities.",
        "reid_toolkit.calibration", ("Calibration", "beside", "calibrate", "load_calibration"),
    ),
    "datasets": Part(
        "Datasets", "Read datasets of crops, in every layout that the commands read.",
        "reid_toolkit.datasets", ("open_dataset", "without_identities", "Dataset", "Split"),
    ),
    "method": Part(
        "Merging", "Cluster descriptors or neighbours by dispersion. This needs PyTorch.",
        "reid_toolkit.method.merging", ("merge_clusters", "merge_neighbours", "Merging"),
    ),
    "evaluation": Part(
        "Ranking", "Measure a ranking: CMC and mAP.",
        "reid_toolkit.evaluation.ranking", ("rank", "Ranking"),
    ),
    "records": Part(
        "Records and errors", "What datasets and galleries consist of, and the error that everything raises.",
        "reid_toolkit", ("Crop", "Tracklet", "Record", "Match", "ReidError"),
    ),
}  # fmt: skip
"""The pages by their names. tests/test_site.py compares them with what the packages export."""


def pages() -> dict[str, str]:
    """The Markdown of each page by its address. mkdocstrings replaces the lines that begin with ``:::``."""
    made = {f"{FOLDER}/{page}.md": page_of(part) for page, part in PAGES.items()}
    made[f"{FOLDER}/index.md"] = index()
    return made


def index() -> str:
    rows = [
        f"| [{part.title}]({page}.md) | `{part.module}` | {', '.join(f'`{name}`' for name in part.names)} |"
        for page, part in PAGES.items()
    ]
    return (
        "# Python\n\nFind the names that your program can import. Other names of the package may change without "
        "notice. Every error is a `ReidError`, and its text is one line.\n\n"
        "| | import from | names |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def page_of(part: Part) -> str:
    """One page. A line of its code is short enough for a screen."""
    imported = f"from {part.module} import {', '.join(part.names)}"
    if len(imported) > WIDTH:
        imported = f"from {part.module} import (\n" + "".join(f"    {name},\n" for name in part.names) + ")"
    blocks = [f"::: {place(part.module, name)}" for name in part.names]
    return "\n\n".join([f"# {part.title}", part.lead, f"```python\n{imported}\n```", *blocks]) + "\n"


def place(module: str, name: str) -> str:
    """Where ``name`` is documented. If a module inside the package has the same name, it is meant to be in there."""
    inside = ROOT.joinpath(*module.split("."), f"{name}.py")
    return f"{module}.{name}.{name}" if inside.exists() else f"{module}.{name}"


def as_text(markdown: str) -> str:
    """A page with each ``:::`` line replaced by signatures and docstrings, for readers of the plain text."""
    return re.sub(r"^::: (\S+)$", lambda line: described(line[1]), markdown, flags=re.MULTILINE)


def described(path: str) -> str:
    """A function or a class with its public methods: headings, signatures and docstrings."""
    named = package()[path.partition(".")[2]]
    named = named.final_target if named.is_alias else named
    text = f"## {named.name}\n\n{signed(named)}"
    for member in named.members.values() if named.is_class else ():
        if member.is_function and member.docstring and not member.name.startswith("_"):
            text += f"\n\n### {named.name}.{member.name}\n\n{signed(member)}"
    return text


def signed(named: griffe.Object) -> str:
    """How a function or class is called, or what a name stands for, and its docstring."""
    head = named.signature() if isinstance(named, griffe.Class | griffe.Function) else str(named.source)
    words = named.docstring.value if named.docstring else ""
    return f"```python\n{head}\n```\n\n{words}".rstrip()


@cache
def package() -> griffe.Module:
    """The whole package, read and not imported."""
    loaded = griffe.load(
        "reid_toolkit", search_paths=[ROOT], resolve_aliases=True, extensions=griffe.load_extensions(Docstrings)
    )
    assert isinstance(loaded, griffe.Module)
    return loaded
