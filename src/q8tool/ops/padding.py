"""Padding that ONNX leaves to be worked out."""

__all__ = ["same_pads", "split_padding"]


def same_pads(auto_pad: str, size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Padding before and after one dimension under SAME_UPPER or SAME_LOWER (ONNX Conv)."""
    out = -(-size // stride)
    total = max(0, (out - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return split_padding(auto_pad, total)


def split_padding(auto_pad: str, total: int) -> tuple[int, int]:
    """So much padding, before and after: what is odd comes after under SAME_UPPER, else before."""
    less, more = total // 2, total - total // 2
    return (less, more) if auto_pad == "SAME_UPPER" else (more, less)
