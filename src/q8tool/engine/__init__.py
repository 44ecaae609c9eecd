"""The engine: an ONNX model becomes a plan of C steps, and runs."""
