"""The stage between the two: the descriptor quantized, the fitting nets in float, under train-qnn.

Its output is that of the continuous stage, with the tables it was given: the fitting nets are made
ready for the tables before they are quantized themselves.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nvnmd.config import RunConfig
from nvnmd.deepmd_config import deepmd_config
from nvnmd.deepmd_files import write_dict
from nvnmd.errors import InputError
from nvnmd.input_stage import settled
from nvnmd.mapping_files import MAP_FILE, write_map
from nvnmd.neighbors import Overflow
from nvnmd.progress import Log, after_last_step
from nvnmd.tf_part_models import TableDescriptorModel
from nvnmd.tf_quantized_stage import prepare_stage
from nvnmd.tf_train import CnnResult
from nvnmd.vacuum import vacuum_bias
from nvnmd.weight_grid import on_grid
from nvnmd.workers import Workers, joined


def train_table_descriptor(
    config: RunConfig,
    cnn_dir: Path,
    out_dir: Path,
    *,
    restart: Path | None = None,
    log: Log = print,
    overflow: Overflow = "error",
    workers: Workers | None = None,
) -> CnnResult:
    """Train float fitting nets behind the quantized descriptor.

    Parameters
    ----------
    config, cnn_dir, restart, log, overflow, workers
        See `nvnmd.tf_qnn.train_qnn`.
    out_dir : Path
        Folder for `train.json`, `lcurve.out`, checkpoints, `weights.npz`, `weight.npy`,
        `config.npy` and `map.npy`; made if missing. train-qnn takes it for that of train-cnn.

    Returns
    -------
    CnnResult

    Raises
    ------
    As `nvnmd.tf_qnn.train_qnn`.
    """
    with joined(workers, log) as (workers, log):
        _check(config)
        stage = prepare_stage(config, cnn_dir, out_dir, restart, log, overflow, workers)
        config = stage.config
        model, steps, seconds = stage.train(TableDescriptorModel)
        with after_last_step(out_dir / Path(config.training.save_ckpt).name):
            trained = on_grid(model.weights, fixed=config.fitting.fixed_layers)
            trained = replace(trained, t_bias_atom_e=vacuum_bias(trained, config.fitting.atom_ener))
            if stage.chief:
                trained.save(out_dir / "weights.npz")
                write_dict(out_dir / "weight.npy", trained.to_deepmd(config.descriptor.sel))
                write_dict(out_dir / "config.npy", deepmd_config(config, trained))
                write_map(out_dir / MAP_FILE, stage.tables)
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
