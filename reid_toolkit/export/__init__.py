"""Export of a trained run as an ONNX file."""
