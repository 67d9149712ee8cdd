"""Numbers that are none, at every option that takes one."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from reid_toolkit.cli.app import reid as root
from reid_toolkit.cli.options import Number


def options_of(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Parameter]]:
    context = click.Context(command)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            part = command.get_command(context, name)
            assert part is not None
            yield from options_of(part, (*path, name))
    for parameter in command.params:
        yield path, parameter


def test_no_option_takes_what_is_no_number() -> None:
    floats = [
        (path, parameter)
        for path, parameter in options_of(root)
        if isinstance(parameter.type, click.types.FloatParamType)
    ]
    assert {path[0] for path, _ in floats} >= {"train", "export", "search", "gallery", "watch", "embed", "ingest"}
    for path, parameter in floats:
        assert isinstance(parameter.type, Number), (path, parameter.name)
        for wrong in ("nan", "-nan", "NaN", "inf", "-inf", "1e999", "-1", "", "0,5"):
            with pytest.raises(click.BadParameter):
                parameter.type.convert(wrong, parameter, None)


def test_no_option_takes_nothing_for_the_working_folder() -> None:
    """A variable of a script that is not set gives an empty path."""
    paths = [(path, one) for path, one in options_of(root) if isinstance(one.type, click.Path)]
    assert {path[0] for path, _ in paths} >= {"train", "ingest", "frigate", "export", "search", "dataset", "serve"}
    for _, parameter in paths:
        with pytest.raises(click.BadParameter, match="'': expected a path"):
            parameter.type.convert("", parameter, None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gallery", "forget", "g", "--like", "a.jpg", "--within", "nan"), "'nan' is not a finite number"),
        (("gallery", "forget", "g", "--like", "a.jpg", "--within", "-0.1"), "-0.1 is not in the range"),
        (("gallery", "compact", "g", "--wait", "inf"), "'inf' is not a finite number"),
        (("gallery", "purge", "g", "--older-than", "nan"), "'nan': expected a duration"),
        (("search", "a.jpg", "--gallery", "g", "--false-match-rate", "nan"), "'nan' is not a finite number"),
        (("search", "a.jpg", "--gallery", "g", "--since", "nan"), "'nan' is neither seconds nor ISO 8601"),
        (("train", "g", "--size", "9" * 5000 + "x64"), "is not a height and a width in pixels"),
        (("train", "g", "--out", ""), "'': expected a path"),
        (("evaluate", "g", "g", "--html", ""), "'': expected a path"),
    ],
)
def test_it_is_named(words: tuple[str, ...], said: str, reid) -> None:
    result = reid(*words)
    assert (result.status, result.out) == (2, "")
    assert said in " ".join(result.err.replace("│", " ").split())
    assert words[-2] in result.err


def test_an_empty_name_of_a_recipe_is_not_ignored(reid, tmp_path: Path) -> None:
    error = reid("train", tmp_path, "--out", tmp_path / "run", "--recipe", "").error
    assert "recipe ''" in error
    assert "neither a shipped recipe" in error
