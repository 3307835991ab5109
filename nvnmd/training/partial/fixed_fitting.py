"""The other half alone: quantized fitting nets behind the float descriptor, under train-qnn."""

from __future__ import annotations

from pathlib import Path

from nvnmd.inputs.config import RunConfig
from nvnmd.neighbors.slots import Overflow
from nvnmd.progress import Log
from nvnmd.training.continuous.train import CnnResult, train_cnn
from nvnmd.training.partial.models import FixedFittingModel
from nvnmd.training.workers import Workers


def train_fixed_fitting(
    config: RunConfig,
    out_dir: Path,
    *,
    restart: Path | None = None,
    log: Log = print,
    overflow: Overflow = "error",
    xla: bool | None = None,
    workers: Workers | None = None,
    force: bool = False,
    allow_changed_data: bool = False,
) -> CnnResult:
    """Train the float descriptor with fitting nets in fixed point.

    Parameters, results and errors are those of `nvnmd.training.continuous.train.train_cnn`; the
    document's `quantize_fitting_net` is true and its `quantize_descriptor` false.
    """
    return train_cnn(config, out_dir, restart=restart, log=log, overflow=overflow, xla=xla,
                     workers=workers, model_class=FixedFittingModel, force=force,
                     allow_changed_data=allow_changed_data)
