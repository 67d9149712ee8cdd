"""What a distance means: evidence from tracklets themselves, fitted to a probability; numpy, no torch, no labels."""

from reid_toolkit.calibration.calibration import Calibration, beside, calibrate, load_calibration

__all__ = ["Calibration", "beside", "calibrate", "load_calibration"]
