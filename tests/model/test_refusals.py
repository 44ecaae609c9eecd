"""What libraries raise about a damaged model has one name and says where."""

import onnx
import pytest

from q8tool.errors import InputError, UnsupportedError
from q8tool.model.refusals import refusals_named


def test_what_a_library_raises_names_the_file() -> None:
    with (
        pytest.raises(InputError, match=r"^m\.onnx: is not valid ONNX: .+") as found,
        refusals_named("m.onnx"),
    ):
        onnx.NodeProto().ParseFromString(b"\xff")
    assert found.value.__cause__ is not None


@pytest.mark.parametrize("error", [UnsupportedError("ours"), OSError("disk"), MemoryError()])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as found, refusals_named("m.onnx"):
        raise error
    assert found.value is error
