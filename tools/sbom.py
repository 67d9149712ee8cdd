"""Finishes an SBOM that cyclonedx-py made of an environment in which reid is installed.

    cyclonedx-py environment .venv/bin/python --of JSON -o sbom.json && .venv/bin/python tools/sbom.py sbom.json 0.1.0

Run it in that environment. reid of this version becomes what the SBOM describes. Packages that reid does not need (pip,
and those for its development) are left out. Licences that cyclonedx-py does not find are filled in, and paths of this
machine are removed.
"""

import json
import sys
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from licences import NAME, NOT_DECLARED, closure, licence_of
from packaging.utils import canonicalize_name


def finished(bom: dict[str, Any], version: str, licences: Mapping[str, str]) -> dict[str, Any]:
    """The SBOM of reid and of the packages in ``licences``, which says the licence of each by its canonical name.

    Raises :class:`ValueError` if another version of reid is in it, or if one of the packages is not.
    """
    found = {canonicalize_name(one["name"]): without_paths(one) for one in bom["components"]}
    held = found.get(NAME, {}).get("version")
    if held != version:
        raise ValueError(f"the environment has {NAME} {held or 'not at all'}, expected {version}: install it there")
    if missing := licences.keys() - found.keys():
        raise ValueError(f"the SBOM lacks {', '.join(sorted(missing))}: make it of this environment")
    kept = [with_licence(found[name], licences[name]) for name in sorted(licences)]
    refs = {one["bom-ref"] for one in [found[NAME], *kept]}
    needs = [
        {**one, "dependsOn": [ref for ref in one.get("dependsOn", ()) if ref in refs]}
        for one in bom["dependencies"]
        if one["ref"] in refs
    ]
    return {**bom, "metadata": {**bom["metadata"], "component": found[NAME]}, "components": kept, "dependencies": needs}


def without_paths(component: dict[str, Any]) -> dict[str, Any]:
    """The component without references to files of this machine."""
    kept = [one for one in component.get("externalReferences", ()) if not one["url"].startswith("file:")]
    return {**component, "externalReferences": kept}


def with_licence(component: dict[str, Any], licence: str) -> dict[str, Any]:
    """The component with this licence, if it has none and the licence is known."""
    if component.get("licenses") or licence == NOT_DECLARED:
        return component
    return {**component, "licenses": [{"license": {"name": licence}}]}


def main(path: Path, version: str) -> None:
    bom = json.loads(path.read_text(encoding="utf-8"))
    try:
        bom = finished(bom, version, {name: licence_of(distribution(name)) for name in closure()[0]})
    except ValueError as error:
        sys.exit(f"{path}: {error}")
    path.write_text(json.dumps(bom, indent=2) + "\n", encoding="utf-8")
    without = [one["name"] for one in bom["components"] if not one.get("licenses")]
    print(f"{path.name}: {len(bom['components'])} packages; without a licence: {', '.join(without) or 'none'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
