"""Arrows between the packages, read from the source; docs/design.md draws the same picture."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[1] / "reid_toolkit"
DESIGN = PACKAGE.parent / "docs" / "design.md"

BASE = {"errors", "records", "config", "recipe_files", "files", "images", "storage", "times", "version"}
"""What everything may import."""

ARROWS = {
    "errors": set(), "records": set(), "times": {"errors"}, "version": set(),
    "config": {"errors"}, "recipe_files": {"config", "errors"}, "storage": {"errors", "records"},
    "files": {"storage"}, "images": {"errors", "storage"},
    "html_page": {"errors", "images"},
    "method": {"errors"},
    "datasets": BASE,
    "exchange": BASE | {"datasets"},
    "parallel": BASE,
    "footage": BASE | {"datasets", "exchange", "parallel", "runtime"},
    "runtime": BASE | {"catalogue.cache", "parallel"},
    "gallery": BASE - {"images"} | {"camera_statistics"},
    "calibration": BASE | {"camera_statistics", "datasets", "method.constraints", "method.must_links", "runtime"},
    "evaluation": BASE | {"camera_statistics", "datasets", "runtime", "html_page"},
    "training": BASE | {"camera_statistics", "datasets", "method", "evaluation.ranking"},
    "reporting": BASE | {"datasets", "training", "evaluation", "html_page"},
    "export": BASE | {"datasets", "evaluation", "runtime", "training"},
    "adopt": BASE | {
        "datasets", "export.parity", "export.saving", "method.constraints", "runtime", "training.beginnings",
        "training.osnet", "training.weight_files",
    },
    "live": BASE | {"footage", "runtime", "gallery"},
    "search": BASE | {"calibration", "camera_statistics", "datasets", "gallery", "parallel", "runtime"},
    "people": BASE | {"camera_statistics", "datasets", "gallery", "live.recognising", "method"},
    "demo": BASE | {"datasets", "parallel"},
    "service": BASE | {"calibration", "gallery", "people", "runtime", "search"},
    "catalogue": {"errors", "files", "version"},
    "doctor": BASE | {"catalogue", "demo.crops", "gallery", "runtime"},
    "cli": BASE | {
        "adopt", "calibration", "camera_statistics", "catalogue", "html_page", "datasets", "demo", "doctor",
        "evaluation", "exchange", "export", "footage", "gallery", "parallel", "reporting", "runtime", "search",
        "training", "live", "people", "service",
    },
    "camera_statistics": {"errors"},
    "__init__": {"errors", "records", "version"},
    "__main__": {"cli"},
}  # fmt: skip
"""Package or module -> what it may import besides itself; "a.b" is that one module of package a."""

FOREIGN = {
    "torch": {
        "method", "training", "reporting", "export", "adopt.from_torch",
        "footage.torchvision_detector",
    },
    "reid": {"adopt.from_torch", "adopt.pretrained"},
    "huggingface_hub": {"adopt.pretrained"},
    "torchvision": {"training", "footage.torchvision_detector"},
    "timm": {"training.timm_backbone"},
    "safetensors": {"training", "footage.torchvision_detector"},
    "onnx": {"export", "adopt"},
    "openvino": {"runtime.openvino"},
    "google": {"adopt.network"},
    "onnxruntime": {"runtime", "footage.detectors.onnx_file", "export", "doctor.probes"},
    "av": {"footage.decoding", "doctor.probes"},
    "hnswlib": {"gallery", "doctor.probes"},
    "sqlite3": {"gallery", "live.events.queue", "live.events.sender"},
    "paho": {"live.events.mqtt"},
    "trackers": {"footage"},
    "supervision": {"footage"},
    "scipy": {"datasets.mars", "method", "training.clustering", "training.merging"},
    "pyarrow": {"runtime.bulk.results"},
    "ray": {"parallel.ray_pool"},
    "fsspec": {"storage.store"},
    "aiohttp": {"storage.store"},
    "pymilvus": {"gallery.milvus.collection"},
    "packaging": {"doctor.packages", "doctor.base"},
    "click": {"cli"},
    "jinja2": {"html_page", "service.pages"},
    "markupsafe": {"html_page", "service.pages"},
    "fastapi": {"service"},
    "starlette": {"service"},
    "uvicorn": {"service.server"},
    "prometheus_client": {"service.metrics"},
    "pydantic": {"service"},
    "python_multipart": {"service.forms"},
    "rich": {"cli"},
    "rich_click": {"cli"},
}  # fmt: skip
"""Package of others -> who may import it."""

LONGEST = 400
"""Lines of a module."""
LONGEST_FUNCTION = 60
"""Lines of a function's statements: without signature, decorators and docstring."""


class Import(NamedTuple):
    importer: str
    """Dotted, without "reid_toolkit."."""
    module: str
    name: str | None
    """What is taken from the module, if it is named."""
    inside: bool
    """Within a function, so that importing the importer does not do it."""


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


FILES = {dotted(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


@cache
def imports(module: str) -> tuple[Import, ...]:
    return tuple(find_imports(module))


def find_imports(module: str) -> Iterator[Import]:
    waiting: list[tuple[ast.AST, bool]] = [(tree(module), False)]
    while waiting:
        node, inside = waiting.pop()
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are written in full"
            for alias in node.names:
                yield Import(module, node.module or "", alias.name, inside)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, None, inside)
        elif isinstance(node, ast.stmt | ast.excepthandler | ast.match_case | ast.Module):  # others hold no import
            inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            waiting += [(child, inside) for child in ast.iter_child_nodes(node)]


ALL = [found for module in FILES for found in imports(module)]


def within(module: str, allowed: set[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in allowed)


def own(found: Import) -> str | None:
    """The module of ours that is imported, without "reid_toolkit."."""
    if found.module == "reid_toolkit":
        return found.name
    return found.module.removeprefix("reid_toolkit.") if found.module.startswith("reid_toolkit.") else None


def test_every_package_has_its_arrows() -> None:
    assert {module.partition(".")[0] for module in FILES} == set(ARROWS)
    assert len(ALL) > 300, "the imports were found"


def targets(found: Import) -> str | None:
    """The module of ours that an import names: itself, or one that a package was asked for by name."""
    target = own(found)
    return f"{target}.{found.name}" if f"{target}.{found.name}" in FILES else target


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Not for type checkers alone, and not inside a function, either."""
    reached: dict[str, set[str]] = {module: set() for module in FILES}
    for found in ALL:
        target = targets(found)
        if target in FILES and target != found.importer:
            reached[found.importer].add(target)
    direct = {module: set(others) for module, others in reached.items()}
    changed = True
    while changed:
        changed = False
        for others in reached.values():
            more = set().union(*(direct[other] for other in others)) - others
            changed |= bool(more)
            others |= more
    assert not [module for module, others in reached.items() if module in others]


def test_the_design_page_shows_the_imports_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PACKAGE.parent / "tools")
    from package_arrows import arrows, drawing

    block = "".join(f"    {line}\n" for line in drawing())
    assert block in DESIGN.read_text(encoding="utf-8"), "python tools/package_arrows.py prints what belongs there"
    allowed = {part: {name.partition(".")[0] for name in names - BASE} for part, names in ARROWS.items()}
    drawn = arrows()
    assert drawn == {part: names for part, names in allowed.items() if part in drawn}, "and nothing more is allowed"


def test_the_design_page_names_every_part() -> None:
    text = DESIGN.read_text(encoding="utf-8")
    block = text.partition("    reid_toolkit/\n")[2].partition("    models/")[0]
    named = set(re.findall(r"(\w+)(?:/ |\.py)", block))
    assert set(ARROWS) - {"__init__", "__main__", "version"} <= named


@pytest.mark.parametrize("package", ARROWS)
def test_arrows_go_one_way(package: str) -> None:
    wrong = [
        f"{found.importer} -> {target}"
        for found in ALL
        if found.importer.partition(".")[0] == package
        and (target := own(found)) is not None
        and not within(target, ARROWS[package] | {package})
    ]
    assert not wrong


def test_no_two_packages_import_each_other() -> None:
    reached = {name: {other.partition(".")[0] for other in allowed} for name, allowed in ARROWS.items()}
    for _ in reached:
        reached = {name: set().union(others, *(reached[other] for other in others)) for name, others in reached.items()}
    assert not [name for name, others in reached.items() if name in others]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_packages_of_others_stay_where_they_belong(foreign: str) -> None:
    users = {found.importer for found in ALL if found.module.partition(".")[0] == foreign}
    assert users, f"nothing imports {foreign}: drop it here"
    assert not {user for user in users if not within(user, FOREIGN[foreign])}


def test_the_rank_of_a_matrix_needs_numpy_alone() -> None:
    assert {found.module.partition(".")[0] for found in imports("evaluation.ranking")} == {
        "dataclasses",
        "numpy",
        "reid_toolkit",
    }


def test_commands_import_heavy_packages_inside_functions() -> None:
    light = {"cli", "errors", "files", "records", "times", "version"}
    heavy = {"numpy", "cv2", *FOREIGN} - {"click", "rich", "rich_click", "sqlite3"}
    guarded = {
        id(node)
        for module in FILES
        if within(module, {"cli"})
        for block in ast.walk(tree(module))
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
    }
    wrong = []
    for module in FILES:
        for node in tree(module).body if within(module, {"cli"}) else ():
            if not isinstance(node, ast.Import | ast.ImportFrom) or id(node) in guarded:
                continue
            name = (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
            ours = name.removeprefix("reid_toolkit.")
            if name.partition(".")[0] in heavy or (ours != name and not within(ours, light)):
                wrong.append(f"{module}: {name}")
    assert not wrong


def test_the_method_is_pure() -> None:
    """The paper's part touches no files, prints nothing and moves nothing to a device of its own choice."""
    wrong = []
    for module in (name for name in FILES if within(name, {"method"})):
        wrong += [
            f"{module}: {found.module}" for found in imports(module) if found.module in ("pathlib", "io", "logging")
        ]
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "open"):
                wrong.append(f"{module}: {ast.unparse(node.func)}")
            if isinstance(node, ast.Attribute) and node.attr == "cuda" and ast.unparse(node) != "torch.cuda":
                wrong.append(f"{module}: .cuda")
    assert not wrong


def test_the_library_never_prints() -> None:
    calls = [
        module
        for module in FILES
        if not within(module, {"cli"})
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]
    assert not calls


@pytest.mark.parametrize("module", FILES)
def test_a_module_is_short_and_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(tree(module)) or module == "__main__"
    assert len(FILES[module].read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_functions_are_short() -> None:
    long = []
    for module in FILES:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0]
                if (node.end_lineno or 0) - first.lineno >= LONGEST_FUNCTION:
                    long.append(f"{module}.{node.name}")
    assert not long


def public_definitions() -> set[tuple[str, str]]:
    """(module, name) of what one part takes from another, or a package offers in ``__all__``: the public API."""
    found = {(target, one.name) for one in ALL if one.name and (target := own(one)) and crosses(one.importer, target)}
    return {resolve(module, name) for module, name in found if module in FILES and not name.isupper()}


def crosses(importer: str, target: str) -> bool:
    return importer.partition(".")[0] != target.partition(".")[0] or importer == target.partition(".")[0]


def resolve(module: str, name: str) -> tuple[str, str]:
    """Follow a package's re-export to the module that defines the name."""
    for one in imports(module):
        target = own(one)
        if one.name == name and target in FILES and target != module:
            return resolve(target, name)
    return module, name


@pytest.mark.parametrize(("module", "name"), sorted(public_definitions()))
def test_what_others_use_has_a_docstring(module: str, name: str) -> None:
    for node in tree(module).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            members = [
                member
                for member in (node.body if isinstance(node, ast.ClassDef) else ())
                if isinstance(member, ast.FunctionDef) and not member.name.startswith("_")
            ]
            protocol = isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)
            missing = [x.name for x in [node, *([] if protocol else members)] if not ast.get_docstring(x)]
            assert not missing


def test_every_public_class_has_a_docstring() -> None:
    assert not [
        f"{module}.{node.name}"
        for module in FILES
        for node in tree(module).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node)
    ]
