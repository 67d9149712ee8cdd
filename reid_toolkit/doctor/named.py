"""Looks at a gallery and a model that the user named: can they be used here, and together?"""

import time
from pathlib import Path
from typing import Any

from reid_toolkit.doctor.findings import Finding

DAY = 86_400.0


def look_at_model(path: str, answer: dict[str, Any]) -> Finding:
    """What the probe of a model file says."""
    if "error" in answer:
        mend = "copy the file again, or make it again with `reid export` or `reid adopt`"
        return Finding("model", path, "broken", answer["error"].removeprefix(f"{path}: "), mend, answer)
    where = answer["provider"].removesuffix("ExecutionProvider")
    found = f"{answer['backbone']}, {answer['precision']}, descriptors of width {answer['dimension']}, runs on {where}"
    return Finding("model", path, "ok", "; ".join([found, *choices(answer)]), facts=answer)


def choices(answer: dict[str, Any]) -> list[str]:
    """Whether the model runs in OpenVINO instead, and why: what trials chose on this machine."""
    if answer.get("named"):
        return [f"the environment variable REID_PROVIDER names {', '.join(answer['named'])}"]
    if not answer.get("openvino") or answer["provider"] != "CPUExecutionProvider":
        return []
    if not answer["choices"]:
        return ["OpenVINO is installed; the next command that embeds many crops measures whether it is faster"]
    return [
        f"in batches of {one['batch_size']}, {one['threads'] or 'all'} threads: {one['several']} for several crops, "
        f"{one['alone']} for a crop alone: {one['why']}"
        for one in answer["choices"]
    ]


def look_at_gallery(where: str, answer: dict[str, Any], model: dict[str, Any] | None) -> Finding:
    """What the probe of a gallery says. ``model``: the answer about the model that was named too, if one was."""
    if "error" in answer:
        said = answer["error"].removeprefix(f"{where}: ")
        return Finding("gallery", where, "broken", said, gallery_remedy(answer), answer)
    if answer.get("older"):
        found = f"made by an older toolkit (schema {answer['version']}, now {answer['expected']})"
        if not answer["writable"]:
            mend = "open it once where it can be written, which upgrades it"
            return Finding("gallery", where, "broken", f"{found}, and cannot be written here", mend, answer)
        mend = f"the next command upgrades it; older checkouts then refuse it: reid gallery info {where}"
        return Finding("gallery", where, "note", found, mend, answer)
    width = answer["dimension"] or "not yet known"
    found = f"{answer['records']:,} records of width {width}"
    if model is not None and "error" not in model and answer["records"]:
        for key, name in (("dimension", "width"), ("model", "model")):
            other = model["fingerprint" if key == "model" else key]
            if answer[key] is not None and answer[key] != other:
                mend = "name the model that filled the gallery, or enroll into a new one"
                wrong = f"{found}: it holds descriptors of another {name} ({answer[key]}, the model has {other})"
                return Finding("gallery", where, "broken", wrong, mend, answer)
    if answer["last"] is not None and answer["last"] > time.time() + DAY:
        mend = "check the clock of this machine, and those of the cameras and recorders"
        return Finding("gallery", where, "note", f"{found}; it has times in the future", mend, answer)
    if model is None and answer["model_file"] and not Path(answer["model_file"]).is_file():
        mend = "give commands --model FILE"
        return Finding("gallery", where, "note", f"{found}; its model {answer['model_file']} is not here", mend, answer)
    if not answer["writable"]:
        mend = "run as its owner to enroll; searching works"
        return Finding("gallery", where, "note", f"{found}; this user cannot write it", mend, answer)
    return Finding("gallery", where, "ok", found, facts=answer)


def gallery_remedy(answer: dict[str, Any]) -> str | None:
    """What to do with a gallery that cannot be opened. None if the message itself says it."""
    if answer.get("package") in ("pymilvus", "milvus_lite"):
        return "pip install '.[milvus]'"
    if "damaged" in answer["error"]:
        return "`reid gallery check` names what is damaged; else restore a copy"
    return None
