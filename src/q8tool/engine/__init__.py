"""The engine: ONNX models lowered to C plans, run by Session."""
