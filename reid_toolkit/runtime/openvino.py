"""Import the package openvino without its telemetry."""

import sys
from types import ModuleType

from reid_toolkit.errors import MissingDependencyError


def import_openvino(what: str) -> ModuleType:
    """The module ``openvino``. ``what`` names, for the message, what needs it.

    Raises :class:`MissingDependencyError` if it is not installed.
    """
    # openvino imports its converter, which writes to the home folder and reports its use to its maker, unless the
    # package openvino_telemetry is missing. So we make it appear missing.
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
