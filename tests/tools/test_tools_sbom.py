"""The SBOM of a release, and the list of what reid needs, on environments made here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
LIST = "import json, licences; print(json.dumps({name: sorted(of) for name, of in licences.closure()[0].items()}))"


def package(folder: Path, name: str, *lines: str, version: str = "1.0", licence_text: str = "") -> None:
    """As pip leaves a package in an environment."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    text = "\n".join(["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines])
    (info / "METADATA").write_text(text + "\n")
    (info / "LICENSE").write_text(licence_text)
    (info / "RECORD").write_text(f"{info.name}/METADATA,,\n{info.name}/LICENSE,,\n")


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """Packages that shadow the real ones: reid, which needs "numpy", and with an extra "torch" and its libraries."""
    folder = tmp_path / "packages"
    folder.mkdir()
    needs = [
        "numpy>=2",
        'torch[gpu]; extra == "train"',
        'pytest; extra == "test"',
        'reid-toolkit[train]; extra == "all"',
    ]
    package(folder, "reid-toolkit", "License-Expression: Apache-2.0", *(f"Requires-Dist: {one}" for one in needs))
    package(folder, "numpy", licence_text="   Apache License\n   Version 2.0, January 2004")
    package(folder, "torch", "License: BSD", 'Requires-Dist: libraries[fast]; extra == "gpu"', "Provides-Extra: gpu")
    package(folder, "libraries", 'Requires-Dist: cublas; extra == "fast"', 'Requires-Dist: slow; extra == "slow"')
    package(folder, "cublas", "Classifier: License :: Other/Proprietary License")
    for name in ("pytest", "slow", "pip"):
        package(folder, name)
    return folder


def python(environment: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    variables = {"PYTHONPATH": f"{environment}:{TOOLS}"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=variables, cwd=environment)


def component(name: str, *urls: str, version: str = "1.0") -> dict:
    return {
        "bom-ref": f"{name}=={version}", "name": name, "version": version, "type": "library",
        "externalReferences": [{"type": "distribution", "url": url} for url in urls],
    }  # fmt: skip


@pytest.fixture
def bom(tmp_path: Path) -> Path:
    names = ("numpy", "Torch", "libraries", "cublas", "pytest", "slow", "pip")
    reid = component("reid-toolkit", "file:///home/me/dist/reid.whl", "https://example.org")
    needs = {"ref": reid["bom-ref"], "dependsOn": ["numpy==1.0", "Torch==1.0", "pytest==1.0"]}
    held = {
        "bomFormat": "CycloneDX", "metadata": {"timestamp": "t"}, "components": [reid, *map(component, names)],
        "dependencies": [needs, {"ref": "numpy==1.0"}, {"ref": "pytest==1.0", "dependsOn": ["pip==1.0"]}],
    }  # fmt: skip
    held["components"][1]["licenses"] = [{"license": {"id": "BSD-3-Clause"}}]
    path = tmp_path / "sbom.json"
    path.write_text(json.dumps(held))
    return path


def test_packages_that_are_needed_by_extras_of_packages_are_listed(environment: Path) -> None:
    done = python(environment, "-c", LIST)
    assert json.loads(done.stdout) == {
        "numpy": ["base"], "torch": ["train"], "libraries": ["train"], "cublas": ["train"]
    }, done.stderr  # fmt: skip


def test_a_licence_is_read_from_the_file_if_the_package_declares_none(environment: Path) -> None:
    code = (
        "import licences as l; print([l.licence_of(l.distribution(n)) for n in ('numpy', 'torch', 'cublas', 'slow')])"
    )
    done = python(environment, "-c", code)
    assert done.stdout == "['Apache-2.0', 'BSD', 'Other/Proprietary License', 'not declared']\n", done.stderr


def test_the_sbom_describes_reid_and_what_it_needs(environment: Path, bom: Path) -> None:
    done = python(environment, TOOLS / "sbom.py", bom, "1.0")
    assert done.stdout == "sbom.json: 4 packages; without a licence: libraries\n", done.stderr
    said = json.loads(bom.read_text())
    root = said["metadata"]["component"]
    assert (root["name"], root["version"]) == ("reid-toolkit", "1.0")
    assert [one["url"] for one in root["externalReferences"]] == ["https://example.org"], "no path of the machine"
    assert {one["name"]: one.get("licenses") for one in said["components"]} == {
        "numpy": [{"license": {"id": "BSD-3-Clause"}}],
        "Torch": [{"license": {"name": "BSD"}}],
        "libraries": None,
        "cublas": [{"license": {"name": "Other/Proprietary License"}}],
    }
    assert said["dependencies"] == [
        {"ref": "reid-toolkit==1.0", "dependsOn": ["numpy==1.0", "Torch==1.0"]},
        {"ref": "numpy==1.0", "dependsOn": []},
    ]


def test_an_sbom_of_another_version_or_environment_is_refused(environment: Path, bom: Path) -> None:
    before = bom.read_text()
    done = python(environment, TOOLS / "sbom.py", bom, "2.0")
    assert (done.returncode, done.stderr) == (
        1, f"{bom}: the environment has reid-toolkit 1.0, expected 2.0: install it there\n"
    )  # fmt: skip
    bom.write_text(before.replace('"cublas"', '"other"'))
    done = python(environment, TOOLS / "sbom.py", bom, "1.0")
    assert (done.returncode, done.stderr) == (1, f"{bom}: the SBOM lacks cublas: make it of this environment\n")
