"""Padding that ONNX leaves to be worked out."""

__all__ = ["same_pads"]


def same_pads(auto_pad: str, size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Padding before and after one dimension under SAME_UPPER or SAME_LOWER (ONNX Conv)."""
    out = -(-size // stride)
    total = max(0, (out - 1) * stride + (kernel - 1) * dilation + 1 - size)
    less, more = total // 2, total - total // 2
    return (less, more) if auto_pad == "SAME_UPPER" else (more, less)
