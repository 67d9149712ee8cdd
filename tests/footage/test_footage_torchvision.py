from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from reid_toolkit.errors import ModelError
from reid_toolkit.footage.detector import load_detector

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_own_weights_are_loaded_and_answer_in_arrays(tmp_path: Path, suffix: str) -> None:
    from safetensors.torch import save_file
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

    path = tmp_path / f"weights{suffix}"
    torch.manual_seed(0)
    state = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None).state_dict()
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    boxes, scores = load_detector("torchvision", path)(np.zeros((120, 160, 3), np.uint8))
    assert boxes.dtype == scores.dtype == np.float32
    assert boxes.shape == (len(scores), 4)


def test_offline_without_weights_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(ModelError, match=r"cannot be downloaded from https://.*--detector-weights FILE"):
        load_detector("torchvision")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match=r"other\.pth: weights of another network"):
        load_detector("torchvision", tmp_path / "other.pth")


@pytest.mark.parametrize("name", ["bad.pth", "bad.safetensors", "gone.pth"])
def test_a_file_that_is_no_state_dict_is_refused(tmp_path: Path, name: str) -> None:
    if not name.startswith("gone"):
        (tmp_path / name).write_bytes(b"no weights")
    with pytest.raises(ModelError, match=name):
        load_detector("torchvision", tmp_path / name)
