"""The compose files and systemd units: what they start are commands with options that exist, and they are hardened."""

import re
import shlex
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from containerfile import parse

from reid_toolkit.cli.app import COMMANDS, reid

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSED = [DEPLOY / "box.yaml", DEPLOY / "centre.yaml"]
"""By name, because users put copies of their own beside them."""
UNITS = sorted(DEPLOY.glob("*.service"))
TIMERS = sorted(DEPLOY.glob("*.timer"))
VARIABLE = r"\$\{(\w+)(?:(:-|:\?)([^}]*))?\}"
YARD = "rtsp://user:password@192.0.2.12/stream"
"""The address that the second watch needs."""


def example_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}.env.example")


def settings(path: Path) -> dict[str, str]:
    """NAME=VALUE lines of an environment file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def services(path: Path, given: dict[str, str] | None = None, text: str | None = None) -> dict[str, Any]:
    """A compose file's services, with the variables of the example and the defaults put in, as compose does: after the
    YAML was read, so that a value stays a text."""
    given = settings(example_of(path)) if given is None else given

    def value(found: re.Match[str]) -> str:
        name, sign, rest = found.groups()
        assert name in given or sign == ":-", f"{path.name}: {name} has no default, and no line in the example"
        return given.get(name) or (rest if sign == ":-" else "")

    def filled(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: filled(one) for key, one in node.items()}
        if isinstance(node, list):
            return [filled(one) for one in node]
        return re.sub(VARIABLE, value, node) if isinstance(node, str) else node

    return dict(filled(yaml.safe_load(text or path.read_text(encoding="utf-8"))["services"]))


def ours(path: Path) -> dict[str, Any]:
    return {name: one for name, one in services(path).items() if one["image"].startswith("reid")}


def understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse a command of reid, as if its files were there."""
    monkeypatch.setattr("reid_toolkit.cli.options.ModelFile.convert", lambda self, value, *_: Path(value))
    command: click.Command = reid
    if words[0] not in COMMANDS:
        pytest.skip(f"this checkout has no reid {words[0]}")
    name = ""
    while isinstance(command, click.Group) and words and words[0] in command.list_commands(click.Context(command)):
        name, *words = words
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    command.make_context(name, words).close()


def shown() -> list[str]:
    """The commands of reid that docs/deploy.md runs in a container or as another user, from the word after reid."""
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    patterns = (
        r"(?:box|centre|\.yaml) run --rm (?:-T )?--no-deps (?:watch|serve) ([^`\n]+)",
        r"/opt/reid/bin/reid ([^`\n]+)",
    )
    return [line for pattern in patterns for line in re.findall(pattern, page)]


@pytest.mark.parametrize("line", shown())
def test_the_page_shows_commands_that_exist(line, monkeypatch):
    understood(shlex.split(line), monkeypatch)


def test_the_page_shows_some_commands():
    assert len(shown()) > 5


SERVICES = [(path, name) for path in COMPOSED for name in ours(path)]
NAMED = pytest.mark.parametrize(("path", "name"), SERVICES, ids=[f"{path.stem}-{name}" for path, name in SERVICES])


def test_there_are_files_for_a_box_for_a_centre_and_for_systemd():
    assert [unit.stem for unit in UNITS] == ["reid-nightly", "reid-serve", "reid-watch", "reid-watch@"]
    assert [timer.stem for timer in TIMERS] == ["reid-nightly"]
    assert len(SERVICES) == 3


@NAMED
def test_a_service_starts_a_command_with_options_that_exist(path, name, monkeypatch):
    understood([str(word) for word in ours(path)[name]["command"]], monkeypatch)


@NAMED
def test_a_service_is_hardened_and_keeps_everything_in_the_volume_of_the_image(path, name):
    hardened(path, ours(path)[name])


def hardened(path: Path, service: dict[str, Any]) -> None:
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


@pytest.mark.parametrize("path", COMPOSED, ids=lambda path: path.stem)
def test_the_example_names_each_setting_of_a_compose_file_and_no_other(path):
    used = {name for name, _, _ in re.findall(VARIABLE, path.read_text(encoding="utf-8"))}
    assert used - settings(example_of(path)).keys() <= {"CAMERA_YARD"}, "of the second watch, which is a comment"
    assert settings(example_of(path)).keys() <= used
    services(path, {name: value for name, value in settings(example_of(path)).items() if name.startswith("CAMERA_")})


@pytest.mark.parametrize("path", COMPOSED, ids=lambda path: path.stem)
def test_the_health_check_asks_whether_the_gallery_can_be_used(path):
    service = services(path)["serve"]
    port = service["command"][service["command"].index("--port") + 1]
    kind, program, option, code = service["healthcheck"]["test"]
    assert (kind, program, option) == ("CMD", "python3", "-c")
    assert f"'http://127.0.0.1:{port}/readyz'" in code

    class Answer(BaseHTTPRequestHandler):
        status = 200

        def do_GET(self) -> None:
            assert self.path == "/readyz"
            self.send_response(self.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever).start()
        asked = code.replace(f":{port}/", f":{server.server_port}/")
        try:
            for Answer.status in (200, 503):
                done = subprocess.run([sys.executable, "-c", asked], capture_output=True, check=False)
                assert (done.returncode == 0) == (Answer.status == 200)
        finally:
            server.shutdown()


def test_the_image_of_a_box_gets_the_extras_that_its_settings_name():
    image = parse((ROOT / "Containerfile").read_text(encoding="utf-8"))[0]
    for given in (None, {"CAMERA_HALL": "0", "CAMERA_GATE": "1"}):
        for service in services(DEPLOY / "box.yaml", given).values():
            assert service["build"]["args"]["EXTRAS"] == image.arguments["EXTRAS"]
    more = settings(DEPLOY / "box.env.example") | {"REID_EXTRAS": "footage,events,serve,milvus"}
    assert services(DEPLOY / "box.yaml", more)["watch"]["build"]["args"]["EXTRAS"].endswith(",milvus")


def test_the_centre_has_the_extras_that_its_gallery_needs():
    service = services(DEPLOY / "centre.yaml")["serve"]
    assert set(service["build"]["args"]["EXTRAS"].split(",")) == {"serve", "milvus"}
    where = service["command"][service["command"].index("--gallery") + 1]
    assert where.startswith("milvus://milvus:"), "the name of the service beside it"


def test_the_centre_gives_milvus_the_settings_of_its_etcd():
    service = services(DEPLOY / "centre.yaml")["milvus"]
    source, target, mode = service["volumes"][1].split(":")
    assert (target, mode) == (service["environment"]["ETCD_CONFIG_PATH"], "ro")
    held = yaml.safe_load((DEPLOY / source).read_text(encoding="utf-8"))
    assert held["auto-compaction-mode"] == "revision"
    assert held["auto-compaction-retention"] == "1000", "a text, as in Milvus's own script"
    assert service["environment"]["COMMON_SECURITY_AUTHORIZATIONENABLED"] == "false"


def test_git_leaves_passwords_and_copies_alone():
    def ignored(name: str) -> bool:
        asked = subprocess.run(["git", "check-ignore", "-q", f"deploy/{name}"], cwd=ROOT, check=False)
        if asked.returncode not in (0, 1):
            pytest.skip("needs git and a checkout")
        return asked.returncode == 0

    assert all(map(ignored, ("box.env", "centre.env", "my-box.yaml")))
    assert not any(map(ignored, ("box.yaml", "box.env.example", "centre.env.example", "embedEtcd.yaml")))


def cameras_of(service: dict[str, Any]) -> int:
    """How many cameras a watch names: as many as it has addresses."""
    words = service["command"]
    addresses = [word for word in words if word.startswith("rtsp://")]
    assert len(addresses) == words.count("--camera")
    return len(addresses)


def test_the_box_names_a_camera_for_each_address():
    assert cameras_of(services(DEPLOY / "box.yaml")["watch"]) == 2


def test_the_second_watch_of_the_box_is_one_if_its_comment_is_taken_away(monkeypatch):
    path = DEPLOY / "box.yaml"
    text = re.sub(r"^( +)# (watch-2:|  .*|cpuset: .*)$", r"\1\2", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    both = services(path, settings(example_of(path)) | {"CAMERA_YARD": YARD}, text)
    first, second = both["watch"], both["watch-2"]
    assert cameras_of(second) == 1
    understood(second["command"], monkeypatch)
    hardened(path, second)
    assert first["cpuset"] != second["cpuset"], "--cores 1 would take any core, also the same"
    assert {**first, "command": 0, "cpuset": 0} == {**second, "command": 0, "cpuset": 0}
    begin = first["command"].index("--model")
    assert second["command"][-len(first["command"][begin:]) :] == first["command"][begin:], "the same places"


def started(unit: Path) -> list[list[str]]:
    """The words of each of a unit's commands, also of those that are comments, with an example's cameras."""
    text = unit.read_text(encoding="utf-8")
    lines = re.findall(r"^#?ExecStart=(.*)$", text, re.MULTILINE)
    cameras = re.findall(r"^#   CAMERAS=(.*)$", text, re.MULTILINE)
    return [shlex.split(line.replace("$CAMERAS", *cameras) if cameras else line) for line in lines]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_commands_with_options_that_exist(unit, monkeypatch):
    assert started(unit)
    for program, *words in started(unit):
        assert program == "/opt/reid/bin/reid"
        state = [word for word in words if word.startswith("/")]
        assert state
        assert all(word.startswith("/var/lib/reid/") for word in state), "the only folder that it may write"
        understood(words, monkeypatch)


@pytest.mark.parametrize("unit", [*UNITS, *TIMERS], ids=lambda unit: unit.name)
def test_systemd_understands_a_unit_and_finds_it_hardened(unit, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    for one in (*UNITS, *TIMERS):  # a timer is understood only beside its service
        copy = tmp_path / one.name.replace("@.", "@north.")
        copy.write_text(one.read_text(encoding="utf-8").replace("/opt/reid/bin/reid", "/bin/true"), encoding="utf-8")
    copy = tmp_path / unit.name.replace("@.", "@north.")
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert copy.name not in done.stderr
    if unit in TIMERS:
        return
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", copy]  # 2.0 of 10
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout[-500:] + judged.stderr


def test_all_units_are_hardened_alike():
    lines = [
        {
            line
            for line in unit.read_text().splitlines()
            if re.match(r"(Protect|Restrict|System|Private|User|State|Environment=)", line)
        }
        for unit in UNITS
    ]
    assert all(held == lines[0] for held in lines)
    assert len(lines[0]) > 20


def test_the_unit_of_several_watches_differs_only_in_its_cameras():
    one, several = (
        [line for line in (DEPLOY / name).read_text().splitlines() if not line.startswith(("#", "Description="))]
        for name in ("reid-watch.service", "reid-watch@.service")
    )
    assert [line.replace("/%i.env", "/watch.env") for line in several] == one


def test_the_page_installs_every_unit():
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    copied = re.findall(r"cp (deploy/\S.*) /etc/systemd/system/", page)
    assert copied
    for line in copied:
        found = {path for pattern in line.split() for path in ROOT.glob(pattern)}
        assert found == {*UNITS, *TIMERS}
