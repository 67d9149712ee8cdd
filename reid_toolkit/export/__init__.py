"""A trained run as an ONNX file."""
