"""Draws which parts of reid_toolkit import which, from their imports, for docs/design.md.

    python tools/package_arrows.py

A part is a folder or a module of the package. A line names a part and the parts that it imports, the lowest first. Base
modules are left out on the right, because every part may import them, and so are imports within a part.
"""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "reid_toolkit"
BASE = {"errors", "records", "config", "recipe_files", "files", "images", "storage", "times", "version"}
LEFT_OUT = BASE | {"__init__", "__main__"}


def arrows() -> dict[str, set[str]]:
    """Return each part of the package and the parts that it imports, without base modules."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if part in LEFT_OUT:
            continue
        targets = found.setdefault(part, set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            targets |= {name.split(".")[1] for name in names if name.startswith("reid_toolkit.")} - LEFT_OUT - {part}
    return found


def in_order(found: dict[str, set[str]]) -> list[str]:
    """Return the parts, each after all that it imports. Raises ValueError if two import each other."""
    order: list[str] = []
    while len(order) < len(found):
        ready = sorted(part for part, targets in found.items() if part not in order and targets <= set(order))
        if not ready:
            raise ValueError(f"these import each other: {sorted(set(found) - set(order))}")
        order += ready
    return order


def drawing() -> list[str]:
    """Return the lines of the drawing."""
    found = arrows()
    order = in_order(found)
    width = max(map(len, order))
    return [
        f"{part:{width}}  -> {', '.join(sorted(found[part], key=order.index))}".rstrip().removesuffix("->").rstrip()
        for part in order
    ]


if __name__ == "__main__":
    print("\n".join(drawing()))
