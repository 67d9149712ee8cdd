"""The compose files and systemd units: what they start are commands with options that exist, and they are hardened."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from containerfile import parse

from reid_toolkit.cli.app import COMMANDS, reid

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSED = sorted(DEPLOY.glob("*.yaml"))
UNITS = sorted(DEPLOY.glob("*.service"))
EXAMPLE = DEPLOY / "box.env.example"


def settings(path: Path) -> dict[str, str]:
    """NAME=VALUE lines of an environment file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def services(path: Path) -> dict[str, Any]:
    """A compose file's services, with the variables of the example and the defaults put in."""
    given = settings(EXAMPLE)

    def value(found: re.Match[str]) -> str:
        name, sign, rest = found.groups()
        assert name in given or sign == ":-", f"{path.name}: {name} has no default, and no line in {EXAMPLE.name}"
        return given.get(name, rest or "")

    text = re.sub(r"\$\{(\w+)(?:(:-|:\?)([^}]*))?\}", value, path.read_text(encoding="utf-8"))
    return dict(yaml.safe_load(text)["services"])


def ours(path: Path) -> dict[str, Any]:
    return {name: one for name, one in services(path).items() if one["image"].startswith("reid")}


def understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse a command of reid, as if its files were there."""
    monkeypatch.setattr("reid_toolkit.cli.options.ModelFile.convert", lambda self, value, *_: Path(value))
    name, *rest = words
    if name not in COMMANDS:
        pytest.skip(f"this checkout has no reid {name}")
    command = reid.get_command(click.Context(reid), name)
    assert command is not None
    command.make_context(name, rest).close()


def shown() -> list[str]:
    """The commands of reid that docs/deploy.md runs in a container or as another user, from the word after reid."""
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    patterns = (r"(?:box|centre) run --rm --no-deps (?:watch|serve) ([^`\n]+)", r"/opt/reid/bin/reid ([^`\n]+)")
    return [line for pattern in patterns for line in re.findall(pattern, page)]


@pytest.mark.parametrize("line", shown())
def test_the_page_shows_commands_that_exist(line, monkeypatch):
    monkeypatch.setattr("reid_toolkit.cli.options.ModelFile.convert", lambda self, value, *_: Path(value))
    command: click.Command = reid
    name, *words = shlex.split(line)
    if name not in COMMANDS:
        pytest.skip(f"this checkout has no reid {name}")
    words = [name, *words]
    while isinstance(command, click.Group) and words and words[0] in command.list_commands(click.Context(command)):
        name, *words = words
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    command.make_context(name, words).close()


def test_the_page_shows_some_commands():
    assert len(shown()) > 5


SERVICES = [(path, name) for path in COMPOSED for name in ours(path)]


def test_there_is_a_file_for_a_box_and_one_for_a_centre():
    assert [path.stem for path in COMPOSED] == ["box", "centre"]
    assert [path.stem for path in UNITS] == ["reid-serve", "reid-watch"]
    assert len(SERVICES) == 3


@pytest.mark.parametrize(("path", "name"), SERVICES, ids=[f"{path.stem}-{name}" for path, name in SERVICES])
def test_a_service_starts_a_command_with_options_that_exist(path, name, monkeypatch):
    understood([str(word) for word in ours(path)[name]["command"]], monkeypatch)


@pytest.mark.parametrize(("path", "name"), SERVICES, ids=[f"{path.stem}-{name}" for path, name in SERVICES])
def test_a_service_is_hardened_and_keeps_everything_in_the_volume_of_the_image(path, name):
    service = ours(path)[name]
    image = parse((ROOT / "Containerfile").read_text(encoding="utf-8"))[-1]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert [volume.split(":")[1] for volume in service["volumes"]] == image.volumes
    assert (path.parent / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    stored = [word for word in service["command"] if str(word).startswith("/")]
    assert stored
    assert all(word.startswith("/data/") for word in stored)
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:")
        assert port.rpartition(":")[2] in image.ports


def test_the_centre_has_the_extras_that_its_gallery_needs():
    service = services(DEPLOY / "centre.yaml")["serve"]
    assert set(service["build"]["args"]["EXTRAS"].split(",")) == {"serve", "milvus"}
    where = service["command"][service["command"].index("--gallery") + 1]
    assert where.startswith("milvus://milvus:"), "the name of the service beside it"


def test_the_box_names_a_camera_for_each_address():
    words = services(DEPLOY / "box.yaml")["watch"]["command"]
    addresses = [word for word in words if word.startswith("rtsp://")]
    assert len(addresses) == words.count("--camera") == 2


def started(unit: Path) -> list[str]:
    """The words of the unit's command, with an example's cameras."""
    (line,) = re.findall(r"^ExecStart=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    cameras = re.findall(r"^#   CAMERAS=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    return shlex.split(line.replace("$CAMERAS", *cameras) if cameras else line)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_a_command_with_options_that_exist(unit, monkeypatch):
    program, *words = started(unit)
    assert program == "/opt/reid/bin/reid"
    state = [word for word in words if word.startswith("/")]
    assert all(word.startswith("/var/lib/reid/") for word in state), "the only folder that it may write"
    understood(words, monkeypatch)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_understands_a_unit_and_finds_it_hardened(unit, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    copy = tmp_path / unit.name
    text = unit.read_text(encoding="utf-8")
    copy.write_text(text.replace("/opt/reid/bin/reid", "/bin/true"), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert unit.name not in done.stderr
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", copy]  # 2.0 of 10
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout[-500:] + judged.stderr


def test_both_units_are_hardened_alike():
    lines = [
        {
            line
            for line in unit.read_text().splitlines()
            if re.match(r"(Protect|Restrict|System|Private|User|State)", line)
        }
        for unit in UNITS
    ]
    assert lines[0] == lines[1]
    assert len(lines[0]) > 20
