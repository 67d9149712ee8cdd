"""Installed builds that overwrite each other, or are damaged: read from metadata that the test writes."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from reid_toolkit.doctor import base, packages

ONNXRUNTIME, OPENCV = packages.FAMILIES
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """``install("onnxruntime", "1.31", "onnxruntime")``: a distribution and its package, in an empty environment."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setattr(sys, "path", [str(site)])
    packages.installed.cache_clear()

    def add(name: str, version: str, package: str | None, content: str = "a = 1\n") -> None:
        record = ""
        if package:
            file = site / package / "__init__.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(content)
            record = f"{package}/__init__.py,,{len(content)}\n"
        information = site / f"{name.replace('-', '_')}-{version}.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (information / "RECORD").write_text(record)
        packages.installed.cache_clear()

    yield add
    packages.installed.cache_clear()


@pytest.mark.parametrize(
    ("family", "names", "package"),
    [
        (ONNXRUNTIME, ("onnxruntime", "onnxruntime-gpu"), "onnxruntime"),
        (ONNXRUNTIME, ("onnxruntime-gpu", "onnxruntime-openvino"), "onnxruntime"),
        (OPENCV, ("opencv-python", "opencv-python-headless"), "cv2"),
        (OPENCV, ("opencv-contrib-python", "opencv-python"), "cv2"),
    ],
)
def test_two_builds_of_one_package_are_found(install, family, names, package):
    for name in names:
        install(name, "1.31", package)
    finding = base.conflict(family)
    assert finding is not None
    assert finding.status == "broken"
    assert all(f"{name} 1.31" in finding.found for name in names)
    assert finding.mend == f"pip uninstall -y {' '.join(names)} && pip install '.'"


def test_one_build_is_well_beside_a_stand_in_without_files(install):
    install("onnxruntime", "1.31", "onnxruntime")
    install("onnxruntime-gpu", "9999", None)
    install("onnxruntime-extensions", "0.14", "onnxruntime_extensions")
    install("opencv-python-headless", "5.0", "cv2")
    assert base.conflict(ONNXRUNTIME) is None
    assert base.conflict(OPENCV) is None
    assert [str(one) for one in packages.owners(ONNXRUNTIME)] == ["onnxruntime 1.31"]


def test_a_build_that_lost_its_files_to_another_is_found(install, tmp_path):
    install("onnxruntime-gpu", "1.31", "onnxruntime")
    (tmp_path / "site" / "onnxruntime" / "__init__.py").write_text("another build's")
    finding = base.conflict(ONNXRUNTIME)
    assert finding is not None
    assert "onnxruntime/__init__.py" in finding.found
    assert finding.mend is not None
    assert finding.mend.endswith("onnxruntime-gpu==1.31")
    (tmp_path / "site" / "onnxruntime" / "__init__.py").unlink()
    assert base.conflict(ONNXRUNTIME) is not None


@pytest.mark.parametrize(
    ("name", "version", "package", "need", "reason"),
    [
        ("onnxruntime", "1.31", "onnxruntime", "onnxruntime-gpu>=1.21", None),
        ("onnxruntime-openvino", "1.20", "onnxruntime", "onnxruntime-gpu>=1.21", "onnxruntime-openvino 1.20 is not"),
        ("opencv-python-headless", "5.0", "cv2", "opencv-python>=4.8", None),
        ("numpy", "1.26", "numpy", "numpy>=2.0", "numpy 1.26 is not >=2.0"),
        ("numpy", "2.1", "numpy", "hnswlib>=0.8", "hnswlib is not installed"),
        ("Rich_Click", "1.9", "rich_click", "rich-click>=1.8", None),
    ],
)
def test_requirements_are_compared_with_what_is_there(install, name, version, package, need, reason):
    install(name, version, package)
    said = packages.lacking(Requirement(need))
    assert said == reason if reason is None else said is not None and said.startswith(reason)


def test_an_empty_environment_lacks_every_requirement(install):
    finding = base.look_at_requirements([Requirement("numpy>=2"), Requirement("onnxruntime>=1.21")])
    assert (finding.status, finding.mend) == ("broken", "pip install '.'")
    assert finding.found == "numpy is not installed; onnxruntime is not installed"


def test_reid_without_metadata_has_unknown_requirements(install):
    assert packages.requirements() is None
    assert base.look_at_requirements(None).status == "note"


def test_requirements_of_an_extra_are_those_that_it_adds():
    always, footage = packages.requirements(), packages.requirements("footage")
    assert always is not None
    assert footage is not None
    assert {"numpy", "click"} <= {need.name for need in always}
    assert {"av", "trackers"} <= {need.name for need in footage}
    assert not {need.name for need in always} & {need.name for need in footage}
    assert packages.requirements("no such extra") is None
