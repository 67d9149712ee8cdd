"""The package openvino, without what it sends."""

import sys
from types import ModuleType

from reid_toolkit.errors import MissingDependencyError


def import_openvino(what: str) -> ModuleType:
    """The module ``openvino``; ``what`` needs it, for the message.

    Raises :class:`MissingDependencyError` where it is not installed.
    """
    # Its converter, which is imported with it, writes to the home folder and sends its maker that it was: unless this
    # package is not there.
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ModuleNotFoundError as error:
        if error.name != "openvino":
            raise
        raise MissingDependencyError(
            f"{what} needs openvino, which is not installed: in reid's checkout, pip install '.[openvino]'",
            name="openvino",
        ) from None
    return openvino
