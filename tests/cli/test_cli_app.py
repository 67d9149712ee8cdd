import builtins
import errno
import os
import re
import signal
import subprocess
import sys

import pytest

import reid_toolkit
from reid_toolkit.cli import app, console


@pytest.fixture
def fails(reid, monkeypatch: pytest.MonkeyPatch):
    """``fails(error)``: what the command line makes of an exception in a command."""

    def run(error: BaseException):
        def raises(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(app.reid, "main", raises)
        return reid("train")

    return run


def test_help_names_every_command_in_the_order_of_the_work(reid) -> None:
    result = reid("--help")
    assert result.status == 0
    # A command's name follows the frame and one space. Lines that continue a help text are indented.
    names = re.findall(r"^\W (\w+) +\w", result.out.partition("Commands")[2], re.MULTILINE)
    assert names == list(app.COMMANDS)


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_command_has_help(reid, name: str) -> None:
    result = reid(name, "--help")
    assert result.status == 0
    assert f"reid {name}" in result.out


def test_help_loads_no_torch() -> None:
    code = (
        "import sys; from reid_toolkit.cli.app import reid\n"
        "try: reid(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "print({'torch', 'cv2', 'onnxruntime', 'trackers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_version(reid) -> None:
    assert reid("--version").out.startswith("reid, version ")


@pytest.mark.parametrize(
    "arguments",
    [
        "fly",
        "train",
        "train x --frames 2",
        "demo --seed -1",
        "search x --gallery g --top-k 0",
        "search x --gallery g --since nan",
        "search x --gallery g --until yesterday",
    ],
)
def test_wrong_usage_is_status_two(reid, arguments: str) -> None:
    result = reid(*arguments.split())
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("error: reid")
    assert len(result.err.splitlines()) == 1
    assert f"; see `reid{'' if arguments == 'fly' else ' ' + arguments.split()[0]} --help`" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("serch x", "no such command 'serch' (did you mean 'search'?)"),
        ("gallery inf x", "no such command 'inf' (did you mean 'info'?)"),
        ("search x --galery g", "no such option '--galery' (did you mean '--gallery'?)"),
        ("ingest x --out o --margin 1%", "'1%': expected a fraction, 0.01"),
        ("evaluate {folder} {file}", "is a folder: expected a file (are the arguments in the right order?)"),
        ("export {file} --out x", "is a file: expected a folder (are the arguments in the right order?)"),
    ],
)
def test_what_was_meant_is_suggested(reid, tmp_path, arguments: str, said: str) -> None:
    (tmp_path / "file").touch()
    result = reid(*arguments.format(folder=tmp_path, file=tmp_path / "file").split())
    assert result.status == 2
    assert said in result.err


def test_a_shipped_recipe_is_suggested(reid, tiny_dataset, tmp_path) -> None:
    error = reid("train", tiny_dataset, "--recipe", "dbc_camera", "--out", tmp_path / "run").error
    assert "recipe 'dbc_camera' (did you mean 'dbc_cameras'?): neither" in error


def test_a_missing_extra_is_named_with_what_installs_it(fails) -> None:
    error = fails(ModuleNotFoundError("No module named 'torch'", name="torch")).error
    assert (
        error == "error: this command needs torch, which is not installed: in reid's checkout, pip install '.[train]'"
    )
    assert "[footage]" in fails(ModuleNotFoundError("", name="trackers.byte")).error


def test_a_command_whose_extra_is_missing(reid, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_torch(name: str, *rest: object, **named: object):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real(name, *rest, **named)

    for package in ("training", "export"):
        if hasattr(reid_toolkit, package):  # else the attribute would stay with what is imported below
            monkeypatch.setattr(reid_toolkit, package, getattr(reid_toolkit, package))
    for name in [m for m in sys.modules if m.startswith(("reid_toolkit.training", "reid_toolkit.export"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", no_torch)
    assert "pip install '.[train]'" in reid("train", tmp_path, "--out", tmp_path / "run").error
    assert "pip install '.[train]'" in reid("export", tmp_path, "--dataset", tmp_path, "--out", "x.onnx").error


def test_a_missing_system_library_is_named(fails) -> None:
    error = fails(ImportError("libGL.so.1: cannot open shared object file: No such file or directory")).error
    assert "libGL.so.1" in error
    assert "libgl1" in error


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*_: object, **__: object) -> None:
        raise ImportError("cannot import name 'trian'")

    monkeypatch.setattr(app.reid, "main", raises)
    with pytest.raises(ImportError, match="trian"):
        app.main(["train"])


def test_what_the_system_refuses_is_one_line(fails) -> None:
    assert "/x/model.onnx: no space left" in fails(OSError(errno.ENOSPC, "No space left", "/x/model.onnx")).error
    assert "/x: is a file, expected a folder" in fails(FileExistsError(errno.EEXIST, "exists", "/x")).error
    assert "/x: Permission denied" in fails(PermissionError(errno.EACCES, "Permission denied", "/x")).error


def test_a_message_is_one_line_with_its_brackets_and_colons(fails) -> None:
    from reid_toolkit.errors import ReidError

    assert fails(ReidError("[bold]a[/]\n  b.onnx :door: [x]")).error == "error: [bold]a[/] b.onnx :door: [x]"


def test_ctrl_c_is_status_130(fails) -> None:
    result = fails(KeyboardInterrupt())
    assert result.status == 130
    assert result.err.startswith("error: interrupted; finished work is kept")


def test_sigterm_unwinds_like_ctrl_c(reid, monkeypatch: pytest.MonkeyPatch) -> None:
    unwound = []

    def waits(*_: object, **__: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            unwound.append(True)

    monkeypatch.setattr(app.reid, "main", waits)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert reid("train").status == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    assert unwound


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("door 1 – Höf, 玄関\u3000東, می\u200cخواهم, 👩\u200d🔬 \\n", None),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[2Jgone\x07\x00\x7f", r"\x1b[2Jgone\x07\x00\x7f"),
        ("\x9b31m\u2028\u2029", r"\x9b31m\u2028\u2029"),
        ("photo\u202egpj.exe\u2066", r"photo\u202egpj.exe\u2066"),
        ("\udcff", r"\udcff"),
    ],
)
def test_names_have_no_power_over_a_terminal(text: str, shown: str | None) -> None:
    assert console.printable(text) == (text if shown is None else shown)


def test_nor_have_those_in_errors_and_warnings(fails) -> None:
    from reid_toolkit.errors import ReidError

    assert fails(ReidError("no camera: expected one of \x1b[2Jdoor")).error == (
        r"error: no camera: expected one of \x1b[2Jdoor"
    )
