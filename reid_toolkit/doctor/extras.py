"""Looks at what else this machine can do: which command needs which extra, and whether it is installed."""

from pathlib import Path
from typing import Any, NamedTuple

from reid_toolkit.doctor import packages
from reid_toolkit.doctor.findings import Finding


class Purpose(NamedTuple):
    """Something that a user may want to do, and the extra that it needs."""

    name: str
    commands: str
    extra: str


PURPOSES = (
    Purpose("ingest", "recordings to tracklets: reid ingest, reid demo", "footage"),
    Purpose("watch", "live cameras: reid watch", "footage"),
    Purpose("train", "reid train, distill, report, demo", "train"),
    Purpose("export", "reid export, adopt, models get (embedders)", "train"),
    Purpose("people", "reid people group and review, and some corrections", "train"),
    Purpose("serve", "the service and its page: reid serve", "serve"),
    Purpose("mqtt", "events to an MQTT broker: reid watch --events mqtt://", "events"),
    Purpose("milvus", "galleries in Milvus", "milvus"),
    Purpose("openvino", "models and detectors in OpenVINO's form", "openvino"),
    Purpose("parquet", "reid embed --format parquet", "parquet"),
    Purpose("cluster", "reid ingest, embed and enroll --ray", "cluster"),
    Purpose("storage", "object storage (s3://): reid ingest, embed and enroll", "storage"),
    Purpose("timm", "backbones of timm: reid train --backbone timm:NAME", "timm"),
    Purpose("checkpoints", "reid adopt, of checkpoints of torchreid and fast-reid", "pretrained"),
)


def look_at_extras(video: dict[str, Any] | None) -> list[Finding]:
    """A finding for each purpose. ``video``: the answer of the probe of PyAV, if PyAV is installed."""
    return [purpose_finding(purpose, video) for purpose in PURPOSES]


def purpose_finding(purpose: Purpose, video: dict[str, Any] | None) -> Finding:
    """Whether what a purpose needs is installed."""
    mend = f"pip install '.[{purpose.extra}]'"
    needs = packages.requirements(purpose.extra)
    facts: dict[str, Any] = {"extra": purpose.extra, "commands": purpose.commands}
    if needs is None:
        found = f"{purpose.commands}: this install does not have the extra {purpose.extra}"
        return Finding("extras", purpose.name, "missing", found, mend, facts)
    facts["packages"] = packages.versions(needs)
    absent = [need.name for need in needs if packages.is_absent(need)]
    wrong = [f"without {', '.join(absent)}"] if absent else []
    wrong += [reason for need in needs if need.name not in absent and (reason := packages.lacking(need))]
    if wrong:
        return Finding("extras", purpose.name, "missing", f"{purpose.commands}: {'; '.join(wrong)}", mend, facts)
    if purpose.extra == "footage" and video is not None and "error" in video:
        again = "pip install --force-reinstall --no-deps av"
        found = f"{purpose.commands}: av cannot be used: {video['error']}"
        return Finding("extras", purpose.name, "missing", found, again, facts)
    shown = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    built = torch_build() if purpose.extra == "train" else ""
    return Finding("extras", purpose.name, "ok", f"{shown}{built}", facts=facts)


def look_at_decoders(video: dict[str, Any] | None) -> list[Finding]:
    """The video codecs that can be read here. Nothing if PyAV is not installed: the extras say so."""
    if video is None or "error" in video:
        return []
    from reid_toolkit.doctor.probes import VIDEO_CODECS

    without = [name for name in VIDEO_CODECS if name not in video["codecs"]]
    shown = ", ".join(name if name in by else f"{name} ({by})" for name, by in video["codecs"].items())
    found = f"PyAV {video['version']}: {shown}{'; RTSP' if video['rtsp'] else ''}"
    if without or not video["rtsp"]:
        lost = ", ".join([*without, *([] if video["rtsp"] else ["RTSP"])])
        mend = "pip install --force-reinstall --no-deps --only-binary av av"
        return [Finding("machine", "video", "note", f"{found}; not {lost}", mend, video)]
    return [Finding("machine", "video", "ok", found, facts=video)]


def torch_build() -> str:
    """For which GPU platform the installed torch was built. Its import takes seconds, so a file of it is read."""
    distribution = packages.installed().get("torch")
    if distribution is None:
        return ""
    try:
        text = Path(str(distribution.locate_file("torch/version.py"))).read_text(encoding="utf-8")
    except OSError:
        return ""
    values = dict(line.split("=", 1) for line in text.replace(": Optional[str]", "").splitlines() if "=" in line)
    cuda = {name.strip(): value.strip().strip("'\"") for name, value in values.items()}.get("cuda", "None")
    return " (torch for the CPU)" if cuda == "None" else f" (torch for CUDA {cuda})"
