"""The whole examination: runs the probes side by side, and collects what is found."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reid_toolkit.doctor import base, extras, machine, named, packages
from reid_toolkit.doctor.findings import Finding
from reid_toolkit.doctor.probing import probe

SCHEMA = 1


@dataclass(frozen=True)
class Examination:
    """All that was found, in the order in which a reader needs it."""

    findings: tuple[Finding, ...]

    @property
    def broken(self) -> list[Finding]:
        """What keeps the base install, or the gallery or model that was named, from working here."""
        return [finding for finding in self.findings if finding.status == "broken"]

    def document(self) -> dict[str, Any]:
        """The examination for programs."""
        return {"schema": SCHEMA, "ok": not self.broken, "findings": [asdict(finding) for finding in self.findings]}


def examine(gallery: str | None = None, model: str | None = None) -> Examination:
    """Look at this machine and at what is installed on it. Changes nothing.

    ``gallery`` (a folder or address) and ``model`` (a file) are tried too. Takes a few seconds.
    """
    probes: dict[str, tuple[str, ...]] = dict.fromkeys(base.DISTRIBUTION, ())
    if "av" in packages.installed():
        probes["video"] = ()
    if model is not None:
        probes["model"] = (model,)
    if gallery is not None:
        gallery = gallery or "."
        probes["gallery"] = (gallery,)
    with ThreadPoolExecutor(max_workers=2) as pool:  # more would wait for each other on a small box
        waiting = {name: pool.submit(probe, name, *arguments) for name, arguments in probes.items()}
        folder = Path(gallery) if gallery is not None and "://" not in gallery else None
        seen = machine.look_at_machine(folder)
        answers = {name: one.result() for name, one in waiting.items()}
    video = answers.get("video")
    gpu = any(finding.facts.get("gpus") for finding in seen)
    found = [*seen, *extras.look_at_decoders(video)]
    found += base.look_at_base({name: answers[name] for name in base.DISTRIBUTION}, gpu)
    found += extras.look_at_extras(video)
    if model is not None:
        found.append(named.look_at_model(model, answers["model"]))
    if gallery is not None:
        found.append(named.look_at_gallery(gallery, answers["gallery"], answers.get("model")))
    return Examination(tuple(found))
