"""docs/licences.md names what pyproject.toml asks for."""

import re
import runpy
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / "tools" / "licences.py"))


def canonical(requirement: str) -> str:
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def test_the_page_names_every_package_that_users_get() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {canonical(one) for one in project["dependencies"]}
    for extra, requirements in project["optional-dependencies"].items():
        if extra not in TOOL["DEVELOPMENT"]:
            needed |= {canonical(one) for one in requirements}
    # onnxruntime is onnxruntime-gpu's stand-in on other machines
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| ([\w.-]+) \| [^|]+ \| [^|]+ \|", page, re.MULTILINE))
    assert needed - {TOOL["NAME"], "onnxruntime"} <= listed
