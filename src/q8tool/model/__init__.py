"""Model files and graphs: load, save, check, metadata, shapes, editing."""

import logging

# onnx-ir logs what it skips; without a handler Python would print that on stderr.
logging.getLogger("onnx_ir").addHandler(logging.NullHandler())
