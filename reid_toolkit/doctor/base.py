"""Looks at the base install: its packages, two builds that overwrite each other, and whether they can be imported."""

import re
from collections.abc import Mapping
from typing import Any

from packaging.requirements import Requirement

from reid_toolkit.doctor import packages
from reid_toolkit.doctor.findings import Finding

INSTALL = "pip install '.'"
SYSTEM_PACKAGES = {
    "libGL.so.1": "libgl1", "libgthread-2.0.so.0": "libglib2.0-0", "libglib-2.0.so.0": "libglib2.0-0",
    "libgomp.so.1": "libgomp1", "libstdc++.so.6": "libstdc++6", "libX11.so.6": "libx11-6", "libXext.so.6": "libxext6",
    "libSM.so.6": "libsm6", "libICE.so.6": "libice6", "libxcb.so.1": "libxcb1",
}  # fmt: skip
"""A library that Python packages take from the system -> Debian's package of it."""
DISTRIBUTION = {"onnxruntime": "onnxruntime", "opencv": "opencv-python", "hnswlib": "hnswlib"}
"""A probe -> the distribution that it looks at."""
PORTABLE = "HNSWLIB_NO_NATIVE=1 pip install --force-reinstall --no-deps --no-cache-dir --no-binary hnswlib hnswlib"


def look_at_base(probed: Mapping[str, dict[str, Any]], gpu: bool) -> list[Finding]:
    """All findings about the base install. ``probed``: the answers of the probes; ``gpu``: whether there is a GPU."""
    findings = [look_at_requirements(packages.requirements()), *filter(None, map(conflict, packages.FAMILIES))]
    named = {finding.name for finding in findings}
    for name, answer in probed.items():
        if DISTRIBUTION[name] not in named:  # a conflict explains why it cannot be imported
            findings.append(imported(name, answer, gpu))
    return findings


def look_at_requirements(needs: list[Requirement] | None) -> Finding:
    """Whether the packages that the base install requires are there, in the versions that it requires."""
    if needs is None:
        found = "reid is not installed as a package, so its requirements are not known"
        return Finding("base", "packages", "note", found, INSTALL)
    versions = packages.versions(needs)
    wrong = [reason for need in needs if (reason := packages.lacking(need))]
    if wrong:
        return Finding("base", "packages", "broken", "; ".join(wrong), INSTALL, versions)
    shown = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Finding("base", "packages", "ok", shown, facts=versions)


def conflict(family: packages.Family) -> Finding | None:
    """Two builds of one package, or a build that another has overwritten. None if all is well."""
    name = "onnxruntime" if family.package == "onnxruntime" else "opencv-python"
    held = packages.owners(family)
    if len(held) > 1:
        names = " ".join(one.name for one in held)
        found = f"{' and '.join(map(str, held))} overwrite each other's files: only one may be installed"
        mend = f"pip uninstall -y {names} && {INSTALL}"
        return Finding("base", name, "broken", found, mend, {"builds": [str(one) for one in held]})
    if held and held[0].damaged:
        files = held[0].damaged
        found = f"{len(files)} files of {held[0]} are missing or overwritten, such as {files[0]}"
        mend = again(name)
        return Finding("base", name, "broken", found, mend, {"builds": [str(held[0])], "files": len(files)})
    return None


def imported(name: str, answer: dict[str, Any], gpu: bool) -> Finding:
    """What the probe ``name`` of a base package says."""
    title = DISTRIBUTION[name]
    error = answer.get("error")
    if error:
        return Finding("base", title, "broken", f"cannot be used: {error}", remedy(title, answer), answer)
    if name == "hnswlib":
        return Finding("base", title, "ok", f"{packages.version_of(title)}: builds and searches an index", facts=answer)
    family = packages.family_of(title)
    held = packages.owners(family) if family else []
    build = str(held[0]) if held else f"{title} {answer['version']}"
    facts = answer | {"build": build}
    if name == "opencv":
        kinds = ", ".join(kind.removeprefix(".") for kind in answer["pictures"])
        if ".jpg" not in answer["pictures"]:
            found = f"{build} cannot write and read JPEG (it can: {kinds or 'nothing'})"
            return Finding("base", title, "broken", found, again(title), facts)
        return Finding("base", title, "ok", f"{build}: {kinds}", facts=facts)
    return providers(title, build, facts, gpu)


def providers(title: str, build: str, facts: dict[str, Any], gpu: bool) -> Finding:
    """Which processors onnxruntime can use, and whether it makes use of a GPU that is there."""
    short = [name.removesuffix("ExecutionProvider") for name in facts["providers"]]
    found = f"{build}: {', '.join(short)}"
    if gpu and "CUDAExecutionProvider" not in facts["providers"]:
        # An edge install has an empty onnxruntime-gpu besides, which would count as installed.
        names = " ".join(sorted({build.split()[0], "onnxruntime-gpu"}))
        mend = f"pip uninstall -y {names} && pip install onnxruntime-gpu torch"
        return Finding("base", title, "note", f"{found}; this build does not use the GPU", mend, facts)
    if gpu and facts["cuda"] not in (None, "works"):
        return Finding("base", title, "note", f"{found}; CUDA cannot be used: {facts['cuda']}", CUDA, facts)
    usable = "" if gpu or "CUDA" not in short else " (CUDA without a GPU is not used)"
    return Finding("base", title, "ok", found + usable, facts=facts)


CUDA = "pip install torch brings the libraries of CUDA and cuDNN"


def remedy(title: str, answer: dict[str, Any]) -> str:
    """What to do when a package cannot be imported."""
    missing = re.search(r"(lib[\w+.-]+\.so[.\d]*): cannot open shared object", answer["error"])
    if missing:
        known = SYSTEM_PACKAGES.get(missing[1])
        opencv = " libgl1 libglib2.0-0" if title == "opencv-python" and known in ("libgl1", "libglib2.0-0") else None
        return f"apt-get install{opencv or f' {known}'}" if known else f"install the system package with {missing[1]}"
    if title == "hnswlib" and answer.get("signal") == "SIGILL":
        return f"it was compiled for another processor: {PORTABLE}"
    if answer.get("kind") == "ModuleNotFoundError" and answer.get("package") not in (None, title):
        return INSTALL
    return again(title)


def again(title: str) -> str:
    """The line that installs a package again: the build that is installed, or what reid requires if there is none."""
    family = packages.family_of(title)
    held = [f"{one.name}=={one.version}" for one in packages.owners(family)] if family else []
    if family is None and (version := packages.version_of(title)):
        held = [f"{title}=={version}"]
    return f"pip install --force-reinstall --no-deps {held[0]}" if held else INSTALL
