"""The stage between the two: the descriptor quantized, the fitting nets in float, under train-qnn.

Its output is that of the continuous stage, with the tables it was given: the fitting nets are made
ready for the tables before they are quantized themselves.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nvnmd.deepmd.files import write_dict
from nvnmd.deepmd.tables import MAP_FILE, write_map
from nvnmd.deepmd.weights import to_deepmd
from nvnmd.errors import InputError
from nvnmd.inputs.config import RunConfig
from nvnmd.inputs.stage import settled
from nvnmd.neighbors.slots import Overflow
from nvnmd.network.vacuum import vacuum_bias
from nvnmd.progress import Log, after_last_step
from nvnmd.training.continuous.train import CnnResult
from nvnmd.training.partial.models import TableDescriptorModel
from nvnmd.training.quantized.setup import prepare_quantized, trained_model
from nvnmd.training.weight_grid import on_grid
from nvnmd.training.workers import Workers, joined


def train_table_descriptor(
    config: RunConfig,
    cnn_dir: Path,
    out_dir: Path,
    *,
    restart: Path | None = None,
    log: Log = print,
    overflow: Overflow = "error",
    workers: Workers | None = None,
    force: bool = False,
    allow_changed_data: bool = False,
) -> CnnResult:
    """Train float fitting nets behind the quantized descriptor.

    Parameters
    ----------
    config, cnn_dir, restart, log, overflow, workers, force, allow_changed_data
        See `nvnmd.training.quantized.train.train_qnn`.
    out_dir : Path
        Folder for `train.json`, `lcurve.out`, checkpoints, `weights.npz`, `weight.npy`,
        `config.npy` and `map.npy`; made if missing. train-qnn takes it for that of train-cnn.

    Returns
    -------
    CnnResult

    Raises
    ------
    As `nvnmd.training.quantized.train.train_qnn`.
    """
    with joined(workers, log) as (workers, log):
        _check(config)
        setup = prepare_quantized(config, cnn_dir, out_dir, restart, log, overflow, workers,
                                  force=force, allow_changed_data=allow_changed_data)
        with (
            trained_model(setup, TableDescriptorModel, log, workers) as (model, steps, seconds),
            after_last_step(setup.loop.newest),
        ):
            trained = on_grid(model.weights, fixed=setup.fixed_layers)
            trained = replace(trained, t_bias_atom_e=vacuum_bias(trained, setup.atom_ener))
            if workers.place.chief:
                trained.save(out_dir / "weights.npz")
                write_dict(out_dir / "weight.npy", to_deepmd(trained, setup.sel))
                write_dict(out_dir / "config.npy", setup.describe(trained))
                write_map(out_dir / MAP_FILE, setup.tables)
                log(f"weights: {out_dir / 'weight.npy'}; the next stage: train-qnn --cnn {out_dir}")
        workers.wait()
    return CnnResult(folder=out_dir, step=steps, weights=trained, seconds_per_step=seconds)


def _check(config: RunConfig) -> None:
    """Raise InputError if the document is not one of this stage."""
    switches = settled(config.switches, "qnn")
    if not switches.quantize_descriptor or switches.quantize_fitting_net:
        raise InputError(f"{config.source}: nvnmd/quantize_fitting_net: expected false and "
                         "nvnmd/quantize_descriptor true for this stage")
    if config.precision.fitting != "float64":
        raise InputError(f"{config.source}: model/fitting_net/precision: got "
                         f"{config.precision.fitting}, expected float64 behind a quantized "
                         "descriptor")
