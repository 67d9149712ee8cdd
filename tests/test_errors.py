import inspect
import re

import pytest

from reid_toolkit import errors

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_is_a_reid_error_and_stands_in_the_printed_tree(kind: type[Exception]) -> None:
    assert issubclass(kind, errors.ReidError)
    assert kind.__doc__
    line = re.search(rf"^([^\w\n]*){kind.__name__}\b", errors.__doc__ or "", re.MULTILINE)
    assert line, "missing from the tree at the top of errors.py"
    assert len(line[1]) - 4 == 4 * (len([base for base in kind.__mro__ if base in CLASSES]) - 1)


@pytest.mark.parametrize(
    ("name", "said"),
    [("serch", " (did you mean 'search'?)"), ("SEARCH", " (did you mean 'search'?)"), ("corridr", ""), ("", "")],
)
def test_the_nearest_name_is_suggested(name: str, said: str) -> None:
    assert errors.did_you_mean(name, ["enroll", "search", "train"]) == said
    assert errors.did_you_mean(name, []) == ""


def test_errors_are_caught_by_the_builtin_that_callers_expect() -> None:
    assert issubclass(errors.InputError, ValueError)
    assert issubclass(errors.MissingDependencyError, ImportError)
    assert not issubclass(errors.ModelError, ValueError)
