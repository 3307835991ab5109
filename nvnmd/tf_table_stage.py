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
from nvnmd.freeze import freeze_model
from nvnmd.input_stage import settled
from nvnmd.mapping_files import MAP_FILE, write_map
from nvnmd.neighbors import Overflow
from nvnmd.progress import Log
from nvnmd.tf_part_models import TableDescriptorModel
from nvnmd.tf_qnn import (
    Part,
    checkpoint_weights,
    load_stage,
    quiet,
    validation_part,
    with_fresh_fitting,
)
from nvnmd.tf_train import CnnResult
from nvnmd.training_loop import (
    TrainingLoop,
    data_facts,
    load_data,
    load_restart,
    summary,
    warn_dropped,
)
from nvnmd.vacuum import vacuum_bias
from nvnmd.weight_grid import on_grid
from nvnmd.workers import (
    OneWorker,
    Workers,
    check_same,
    guarded,
    with_shared_seeds,
    with_shared_weights,
)


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
    workers = OneWorker() if workers is None else workers
    with guarded(workers):
        return _train(config, cnn_dir, out_dir, restart, log if workers.place.chief else quiet,
                      overflow, workers)


def _train(
    config: RunConfig,
    cnn_dir: Path,
    out_dir: Path,
    restart: Path | None,
    log: Log,
    overflow: Overflow,
    workers: Workers,
) -> CnnResult:
    """Do the part of one worker."""
    config, chief = with_shared_seeds(config, workers), workers.place.chief
    switches = settled(config.switches, "qnn")
    if not switches.quantize_descriptor or switches.quantize_fitting_net:
        raise InputError(f"{config.source}: nvnmd/quantize_fitting_net: expected false and "
                         "nvnmd/quantize_descriptor true for this stage")
    if config.precision.fitting != "float64":
        raise InputError(f"{config.source}: model/fitting_net/precision: got "
                         f"{config.precision.fitting}, expected float64 behind a quantized "
                         "descriptor")
    weights, tables = load_stage(config, cnn_dir)
    training = config.training
    systems, neighbors = load_data(config, training.systems, overflow, training.set_prefix)
    log(f"training data: {summary(systems)}")
    if not switches.restore_fitting_net:
        weights = with_fresh_fitting(weights, config, neighbors, log, write=chief)
    checkpoint = None
    if restart is not None:
        checkpoint = load_restart(restart, config, "qnn")
        weights = checkpoint_weights(checkpoint, weights, restart, cnn_dir)
    weights = with_shared_weights(weights, workers)
    start = freeze_model(weights, tables, config)
    check_same(workers, input_document=config.normalized, data=data_facts(systems),
               checkpoint=None if checkpoint is None else checkpoint.step, model=start.digest)
    train_part = Part(systems, training.batch_size, start, neighbors, training.seed,
                      training.auto_prob, training.sys_probs, workers.place,
                      training.mixed_batch)
    valid_part = None
    if training.validation_systems:
        valid_part = validation_part(config, start, overflow, log)
    model = TableDescriptorModel(start, weights, relative_f=config.loss.relative_f,
                                 gradient_max_norm=training.gradient_max_norm,
                                 train_fitting=config.fitting.trainable,
                                 atom_ener=config.fitting.atom_ener)
    run = TrainingLoop("qnn", config, out_dir, model, train_part, valid_part, log, workers)
    if checkpoint is not None:
        run.restore(checkpoint)
        log(f"continuing at step {checkpoint.step}")
    seconds = run.loop()
    warn_dropped(neighbors, log)

    trained = on_grid(model.weights, fixed=config.fitting.fixed_layers)
    trained = replace(trained, t_bias_atom_e=vacuum_bias(trained, config.fitting.atom_ener))
    if chief:
        trained.save(out_dir / "weights.npz")
        write_dict(out_dir / "weight.npy", trained.to_deepmd(config.descriptor.sel))
        write_dict(out_dir / "config.npy", deepmd_config(config, trained))
        write_map(out_dir / MAP_FILE, tables)
        log(f"weights: {out_dir / 'weight.npy'}; the next stage: train-qnn --cnn {out_dir}")
    workers.wait()
    return CnnResult(folder=out_dir, step=run.step, weights=trained, seconds_per_step=seconds)
