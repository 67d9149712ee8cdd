import inspect
import re

import pytest

from reid_toolkit import errors

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_is_a_reid_error_and_stands_in_the_printed_tree(kind: type[Exception]) -> None:
    assert issubclass(kind, errors.ReidError)
    assert kind.__doc__
    line = re.search(rf"^([^\w\n]*){kind.__name__}\b", errors.__doc__ or "", re.MULTILINE)
    assert line, "missing from the tree at the top of errors.py"
    assert len(line[1]) - 4 == 4 * (len([base for base in kind.__mro__ if base in CLASSES]) - 1)


def test_errors_are_caught_by_the_builtin_that_callers_expect() -> None:
    assert issubclass(errors.InputError, ValueError)
    assert issubclass(errors.MissingDependencyError, ImportError)
    assert not issubclass(errors.ModelError, ValueError)
