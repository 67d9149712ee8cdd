"""The package openvino: its import without telemetry, and a session in it for one of our ONNX files."""

import sys
from collections import deque
from collections.abc import Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

from reid_toolkit.errors import MissingDependencyError

NAME = "OpenVINOExecutionProvider"
"""onnxruntime's name of OpenVINO, so that ``Embedder.provider`` says the same for both ways to run it."""


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


class OpenVinoSession:
    """A model in the package openvino, on the CPU in float32. It has the methods of onnxruntime's session that we use.

    OpenVINO takes bfloat16 by itself on processors that multiply it faster. That changes distances by some hundredths,
    so it is turned off. Threads may share a session.

    Args:
        content: the model's file. onnxruntime must have accepted it before: OpenVINO checks less, and would open
            weights in other files.
        plain: onnxruntime's session of the same file. Names, shapes and metadata are taken from it.
        threads: how many threads share a run.
        streams: how many runs may be computed at once.

    Raises whatever openvino raises if it cannot be imported or cannot run the model.
    """

    def __init__(self, content: bytes, plain: Any, threads: int, streams: int) -> None:
        core = import_openvino("the provider openvino").Core()
        settings = {
            "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": streams * threads,
            # Two processes that each bind their threads to the first cores would leave the others idle.
            "ENABLE_CPU_PINNING": False,
        }  # fmt: skip
        self._model = core.compile_model(core.read_model(content), "CPU", settings)
        self._requests: deque[Any] = deque()
        # Copies, because the session that they come from may be closed.
        self._inputs, self._outputs = ends_of(plain.get_inputs()), ends_of(plain.get_outputs())
        self._about = SimpleNamespace(custom_metadata_map=dict(plain.get_modelmeta().custom_metadata_map))

    def run(self, output_names: Any, input_feed: Mapping[str, Any]) -> Sequence[Any]:
        """The outputs for ``input_feed``. ``output_names`` must be None: all outputs."""
        assert output_names is None
        try:  # one request serves one call at a time, so there are as many as calls have come at once
            request = self._requests.pop()
        except IndexError:
            request = self._model.create_infer_request()
        try:
            found = request.infer(dict(input_feed), share_inputs=True)
            return [found[output] for output in self._model.outputs]
        finally:
            self._requests.append(request)

    def get_inputs(self) -> Sequence[Any]:
        return self._inputs

    def get_outputs(self) -> Sequence[Any]:
        return self._outputs

    def get_modelmeta(self) -> Any:
        return self._about

    def get_providers(self) -> Sequence[str]:
        return [NAME]


def ends_of(nodes: Sequence[Any]) -> list[SimpleNamespace]:
    """Names, types and shapes of a graph's inputs or outputs."""
    return [SimpleNamespace(name=node.name, type=node.type, shape=node.shape) for node in nodes]
