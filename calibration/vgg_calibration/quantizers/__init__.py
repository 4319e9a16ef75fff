"""Quantizers: one transformation of an ONNX graph per file."""
