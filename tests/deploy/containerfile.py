"""Builds and runs a Containerfile without a container engine: overlays over a clean Debian, and chroot.

It knows the instructions that ours has, and refuses others. It needs root on Linux, and is started in mount and process
namespaces of its own (`unshare --mount --pid --fork`; to run, also `--net`), so that nothing but WORK stays.

    python containerfile.py build CONTAINERFILE CONTEXT BASE WORK     BASE: a folder made by debootstrap
    python containerfile.py run WORK VOLUME [WORD...]                 with a read-only root and no network
    python containerfile.py health WORK VOLUME [WORD...]              the same, and asks the health check
"""

import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

PASSED = ("PIP_CERT", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""What RUN needs to reach the package registries from this machine."""
CERTIFICATES = "/run/certificates.crt"
HEALTHY_WITHIN = 90.0


@dataclass
class Stage:
    """A stage of a Containerfile, and what an image keeps of it besides files."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "root"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    ports: list[str] = field(default_factory=list)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """(INSTRUCTION, rest) of each instruction, with continued lines joined and comments removed."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


def parse(text: str) -> list[Stage]:
    """The stages. FROM and what an image keeps are read; files are made by :func:`build`."""
    stages: list[Stage] = []
    for word, rest in instructions(text):
        if word == "FROM":
            base, *more = rest.split()
            stages.append(Stage(base, more[1] if more else str(len(stages))))
        else:
            stages[-1].steps.append((word, rest))
    for stage in stages:
        for word, rest in stage.steps:
            settle(stage, word, rest)
    return stages


def settle(stage: Stage, word: str, rest: str) -> None:
    """Take over an instruction that makes no files."""
    if word == "ENV":
        for pair in shlex.split(rest):
            name, _, value = pair.partition("=")
            stage.environment[name] = value
    elif word == "ARG":
        name, _, value = rest.partition("=")
        stage.arguments[name] = value
    elif word == "WORKDIR":
        stage.folder = rest
    elif word == "USER":
        stage.user = rest
    elif word in ("ENTRYPOINT", "CMD"):
        setattr(stage, "entrypoint" if word == "ENTRYPOINT" else "command", json.loads(rest))
    elif word == "HEALTHCHECK":
        stage.health = json.loads(rest.partition(" CMD ")[2])
    elif word == "VOLUME":
        stage.volumes.append(rest)
    elif word == "EXPOSE":
        stage.ports += rest.split()
    elif word not in ("RUN", "COPY"):
        raise ValueError(f"{word}: this instruction is not known here")


def build(file: Path, context: Path, base: Path, work: Path) -> None:
    """Make all stages: their files in WORK/N, and what the image keeps in WORK/image.json."""
    stages = parse(file.read_text())
    layers: dict[str, Path] = {}
    for number, stage in enumerate(stages):
        upper, root = work / str(number), work / "root"
        for folder in (upper, work / "scratch", root):
            folder.mkdir(parents=True, exist_ok=True)
        mount("-t", "overlay", "overlay", "-o", f"lowerdir={base},upperdir={upper},workdir={work / 'scratch'}", root)
        furnish(root)
        for word, rest in stage.steps:
            if word == "RUN":
                print(f"RUN {rest}", flush=True)
                subprocess.run(inside(root, stage, ["/bin/sh", "-c", rest], building=True), check=True)
            elif word == "COPY":
                copy(rest, context, layers, root)
            elif word == "WORKDIR":
                (root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        subprocess.run(["umount", "-R", str(root)], check=True)
        shutil.rmtree(work / "scratch")
        layers[stage.name] = upper
    (work / "image.json").write_text(json.dumps(asdict(stages[-1]) | {"layer": str(upper), "below": str(base)}))


def mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


def furnish(root: Path) -> None:
    """What an engine gives a container while it is built: processes, devices, names of hosts, and certificates."""
    mount("-t", "proc", "proc", root / "proc")
    mount("--rbind", "/dev", root / "dev")
    mount("-t", "tmpfs", "tmpfs", root / "run")
    (root / "etc" / "resolv.conf").touch()
    mount("--bind", "/etc/resolv.conf", root / "etc" / "resolv.conf")
    if certificates := os.environ.get("PIP_CERT"):
        shutil.copy(certificates, root / CERTIFICATES.lstrip("/"))


def inside(root: Path, stage: Stage, words: list[str], building: bool = False) -> list[str]:
    """The command that runs ``words`` in ``root``, as the stage's user and with its environment."""
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    if building:
        environment |= {name: os.environ[name] for name in PASSED if name in os.environ} | stage.arguments
        environment |= {"PIP_CERT": CERTIFICATES} if "PIP_CERT" in environment else {}
        environment["DEBIAN_FRONTEND"] = "noninteractive"
    environment |= stage.environment
    settings = [f"{name}={value}" for name, value in environment.items()]
    folder = "/" if building else stage.folder
    start = ["chroot"]
    if not building and stage.user != "root":
        person = passwd(root, stage.user)
        start += [f"--userspec={person}", "--groups="]
    shell = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', folder, *words]
    return [*start, str(root), "/usr/bin/env", "-i", *settings, *shell]


def passwd(root: Path, user: str) -> str:
    """ "uid:gid" of a user of the image."""
    lines = (root / "etc" / "passwd").read_text().splitlines()
    found = next(line.split(":") for line in lines if line.split(":")[0] == user)
    return f"{found[2]}:{found[3]}"


def copy(rest: str, context: Path, layers: dict[str, Path], root: Path) -> None:
    """COPY: the contents of folders, or files, from the context or from a stage."""
    words = rest.split()
    given = [word.removeprefix("--from=") for word in words if word.startswith("--from=")]
    *sources, target = [word for word in words if not word.startswith("--")]
    place = root / target.lstrip("/")
    kept = (lambda _: True) if given else keeper(context)
    for source in sources:
        origin = (layers[given[0]] if given else context) / source.lstrip("/")
        if not kept(origin):
            raise ValueError(f"COPY {source}: .dockerignore leaves it out")
        if origin.is_dir():
            shutil.copytree(
                origin, place, symlinks=True, dirs_exist_ok=True,
                ignore=lambda folder, names: [name for name in names if not kept(Path(folder) / name)],
            )  # fmt: skip
        else:
            into = place / origin.name if target.endswith("/") else place
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(origin, into)


def keeper(context: Path) -> Any:
    """Whether .dockerignore keeps a path of the context. The last pattern that matches decides."""
    lines = (context / ".dockerignore").read_text().splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]

    def kept(path: Path) -> bool:
        name, answer = str(path.relative_to(context)), True
        for pattern in patterns:
            bare = pattern.removeprefix("!")
            hit = (
                Path(name).name == bare.removeprefix("**/")
                if bare.startswith("**/")
                else any(fnmatch(part, bare) for part in (name, *map(str, Path(name).parents)))
            )
            answer = pattern.startswith("!") if hit else answer
        return answer

    return kept


def start(work: Path, volume: Path) -> tuple[Path, Stage]:
    """Mount the image as a container has it: read-only, with its volume, an empty /tmp, and no network."""
    held = json.loads((work / "image.json").read_text())
    layer, below = held.pop("layer"), held.pop("below")
    stage, root = Stage(**held), work / "root"
    mount("-t", "overlay", "overlay", "-o", f"ro,lowerdir={layer}:{below}", root)
    mount("-t", "proc", "proc", root / "proc")
    mount("--rbind", "/dev", root / "dev")
    for folder in ("tmp", "run"):
        mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / folder)
    uid, gid = map(int, passwd(root, stage.user).split(":"))
    for path in (volume, *volume.rglob("*")):
        os.chown(path, uid, gid)
    mount("--bind", volume, root / stage.volumes[0].lstrip("/"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:  # the loopback of the new network namespace
        fcntl.ioctl(handle, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: IFF_UP, IFF_RUNNING
    return root, stage


def run(work: Path, volume: Path, words: list[str]) -> int:
    """Run the image's entry point with ``words``, or with its CMD. Returns the exit status."""
    root, stage = start(work, volume)
    return subprocess.run(inside(root, stage, [*stage.entrypoint, *(words or stage.command)]), check=False).returncode


def health(work: Path, volume: Path, words: list[str]) -> int:
    """Start the image, and ask its health check until it is well. Returns 0 if it is, and ends well on SIGTERM."""
    root, stage = start(work, volume)
    process = subprocess.Popen(inside(root, stage, [*stage.entrypoint, *(words or stage.command)]))
    until, well = time.monotonic() + HEALTHY_WITHIN, False
    while not well and time.monotonic() < until and process.poll() is None:
        asked = subprocess.run(inside(root, stage, stage.health), capture_output=True, text=True, check=False)
        well = asked.returncode == 0
        time.sleep(0.5)
    print("healthy" if well else f"not healthy: {asked.stderr[-300:]}", flush=True)
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    return process.wait(60) if well else 1


if __name__ == "__main__":
    word, *given = sys.argv[1:]
    if word == "build":
        build(*(Path(path).resolve() for path in given))
    else:
        what = {"run": run, "health": health}[word]
        sys.exit(what(Path(given[0]).resolve(), Path(given[1]).resolve(), given[2:]))
