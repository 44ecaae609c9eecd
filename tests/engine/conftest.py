"""What tests of other quantizers' files share."""

import logging
from collections.abc import Iterator

import onnxruntime
import pytest


@pytest.fixture
def quiet_quantizers() -> Iterator[None]:
    """The quantizers log advice for every model."""
    logging.disable(logging.ERROR)
    onnxruntime.set_default_logger_severity(4)
    yield
    logging.disable(logging.NOTSET)
