"""Turn distances into probabilities, with evidence from tracklets. Needs numpy, but no torch and no labels."""

from reid_toolkit.calibration.calibration import Calibration, beside, calibrate, load_calibration

__all__ = ["Calibration", "beside", "calibrate", "load_calibration"]
