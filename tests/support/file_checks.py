"""Files of DeePMD-kit that must be equal in value, type, order and bits."""

from __future__ import annotations

import numpy as np

STAGE_FILES = ("nvnmd_cnn/config.npy", "nvnmd_cnn/weight.npy", "nvnmd_cnn/map.npy",
               "nvnmd_qnn/config.npy", "nvnmd_qnn/weight.npy")  # fmt: skip

OTHER_FILES = ("nvnmd_cnn/train.json", "nvnmd_qnn/train.json", "nvnmd_qnn/model.pb")


def same(one, two, path="") -> None:
    """Equal in value, type, order and bits."""
    assert type(one) is type(two), path
    if isinstance(one, dict):
        assert list(one) == list(two), path
        for key in one:
            same(one[key], two[key], f"{path}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(two), path
        for index, pair in enumerate(zip(one, two, strict=True)):
            same(*pair, f"{path}/{index}")
    elif isinstance(one, np.ndarray):
        assert (one.shape, one.dtype) == (two.shape, two.dtype), path
        assert one.tobytes() == two.tobytes(), path
    else:
        assert one == two, path
