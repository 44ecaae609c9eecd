"""Checkpoints: npz and safetensors alike, damaged ones refused."""

import pickle
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from q8tool.errors import InputError, UsageError
from q8tool.model.checkpoint import Checkpoint
from tests.graphs import random

VALUES = {"conv.weight": random(4, 3), "conv.bias": random(4)}


def write(path: Path) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **dict[str, Any](VALUES))
    else:
        safetensors.numpy.save_file(VALUES, path)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_arrays_by_name(suffix: str, tmp_path: Path) -> None:
    with Checkpoint(write(tmp_path / f"c{suffix}")) as values:
        assert sorted(values) == sorted(VALUES)
        assert len(values) == 2
        for name, array in VALUES.items():
            np.testing.assert_array_equal(values[name], array)
        with pytest.raises(KeyError):
            values["none"]


def test_bfloat16(tmp_path: Path) -> None:
    array = np.array([1.5, -2], ml_dtypes.bfloat16)
    safetensors.numpy.save_file({"w": array}, tmp_path / "c.safetensors")
    with Checkpoint(tmp_path / "c.safetensors") as values:
        assert values["w"].astype(np.float32).tolist() == [1.5, -2]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated(suffix: str, share: float, tmp_path: Path) -> None:
    path = write(tmp_path / f"c{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=r"c\.(npz|safetensors): is not a usable checkpoint"):
        Checkpoint(path)


def test_pickled_objects_are_not_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", w=np.array([{"a": 1}], dtype=object))
    with Checkpoint(tmp_path / "c.npz") as values, pytest.raises(InputError, match="'w' cannot"):
        values["w"]
    (tmp_path / "d.npz").write_bytes(pickle.dumps({"w": 1}))
    with pytest.raises(InputError, match="is not a usable checkpoint"):
        Checkpoint(tmp_path / "d.npz")


def test_one_array_is_no_archive(tmp_path: Path) -> None:
    with (tmp_path / "c.npz").open("wb") as file:
        np.save(file, random(2))
    with pytest.raises(InputError, match="it is one array"):
        Checkpoint(tmp_path / "c.npz")


def test_missing_folder_and_other_kinds(tmp_path: Path) -> None:
    (tmp_path / "d.npz").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        Checkpoint(tmp_path / "d.npz")
    with pytest.raises(InputError, match="no such file"):
        Checkpoint(tmp_path / "none.npz")
    with pytest.raises(UsageError, match=r"must be a \.npz or \.safetensors file"):
        Checkpoint(tmp_path / "c.pt")
