"""The quantized stage: training the fitting nets inside the quantized network, `train-qnn`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nvnmd.checkpoint import Checkpoint, unprefixed
from nvnmd.config import RunConfig, Switches
from nvnmd.data import System
from nvnmd.data_mixed import pools
from nvnmd.deepmd_config import deepmd_config
from nvnmd.deepmd_files import write_dict
from nvnmd.errors import InputError, ModelFileError, RangeError
from nvnmd.frame_pairs import NeighborCache
from nvnmd.freeze import freeze_model
from nvnmd.initial_weights import initial_weights
from nvnmd.input_stage import settled
from nvnmd.keep_better import better_weights
from nvnmd.mapping.build import Tables
from nvnmd.mapping_files import read_map
from nvnmd.mixed_batches import FrameDraws
from nvnmd.model_extras import stage_extras
from nvnmd.neighbors import Overflow
from nvnmd.progress import Log
from nvnmd.qnn_batches import QuantizedBatch, QuantizedFrames
from nvnmd.quantize.forces import assemble_forces
from nvnmd.quantize.model import Model
from nvnmd.quantize.reference import evaluate_atoms
from nvnmd.restore import read_weights, restored
from nvnmd.statistics_file import training_statistics
from nvnmd.tf_qnn_model import TfQuantizedModel
from nvnmd.training_loop import (
    TrainingLoop,
    data_facts,
    load_data,
    load_restart,
    summary,
    warn_dropped,
)
from nvnmd.weight_grid import on_grid
from nvnmd.weights import FloatWeights
from nvnmd.workers import (
    OneWorker,
    Place,
    Workers,
    check_same,
    guarded,
    with_shared_seeds,
    with_shared_weights,
)

MODEL_FILE = "model.nvnmd"


@dataclass(frozen=True, kw_only=True)
class QnnResult:
    """What a quantized stage ended with.

    Attributes
    ----------
    folder : Path
        Where its files are.
    model_file : Path
        The frozen model.
    model : Model
        Its contents.
    step : int
        Steps finished.
    seconds_per_step : float
        Mean wall time of a step in this run, tracing included.
    """

    folder: Path
    model_file: Path
    model: Model
    step: int
    seconds_per_step: float


class Part:
    """A part of the data with its sampler and its frames' constants."""

    def __init__(
        self,
        systems: Sequence[System],
        batch_sizes: Sequence[int],
        model: Model,
        neighbors: NeighborCache,
        seed: int | None,
        auto_prob: str,
        sys_probs: Sequence[float] | None,
        place: Place = Place(),  # noqa: B008
        merged: bool = False,
    ) -> None:
        self._draws = FrameDraws(systems, batch_sizes, seed, place, merged=merged,
                                 auto_prob=auto_prob, sys_probs=sys_probs)
        self.frames = QuantizedFrames(model, neighbors, self._draws.mates)
        self.sampler = self._draws.sampler

    def draw(self) -> QuantizedBatch:
        return self.frames.merged(*self._draws())


def train_qnn(
    config: RunConfig,
    cnn_dir: Path,
    out_dir: Path,
    *,
    restart: Path | None = None,
    log: Log = print,
    overflow: Overflow = "error",
    workers: Workers | None = None,
    keep_last: bool = False,
) -> QnnResult:
    """Train the fitting nets of the quantized network, and write the frozen model.

    Embedding nets, statistics and tables are those of the continuous stage and stay as they are.
    Without `restore_fitting_net` the fitting nets are drawn anew; with it, weights that are no
    better than those of the continuous stage are discarded (see `nvnmd.keep_better.objection`).

    Parameters
    ----------
    config : RunConfig
        The run.
    cnn_dir : Path
        Folder of the continuous stage: `weight.npy`, `config.npy`, `map.npy`.
    out_dir : Path
        Folder for `train.json`, `lcurve.out`, checkpoints, `weight.npy`, `config.npy` and
        `model.nvnmd`; made if missing.
    restart : Path, optional
        Checkpoint to continue exactly.
    log : callable
        Takes lines of text.
    overflow : {"error", "truncate"}
        See `build_neighborhood`.
    workers : Workers, optional
        See `nvnmd.tf_train.train_cnn`.
    keep_last : bool
        Whether the model has the weights of the last step in any case.

    Returns
    -------
    QnnResult

    Raises
    ------
    InputError, ModelFileError, NeighborOverflowError
        Data, input, the continuous stage's folder or the checkpoint are not usable.
    RangeError
        A value leaves the format that the hardware gives it.
    NvnmdError
        The training diverged.
    KeyboardInterrupt
        Ctrl-C, after a checkpoint has been written.
    """
    workers = OneWorker() if workers is None else workers
    with guarded(workers):
        return _train(config, cnn_dir, out_dir, restart, log if workers.place.chief else quiet,
                      overflow, workers, keep_last)


def quiet(line: str) -> None:
    """Take the lines of workers that are not the chief."""


def _train(
    config: RunConfig,
    cnn_dir: Path,
    out_dir: Path,
    restart: Path | None,
    log: Log,
    overflow: Overflow,
    workers: Workers,
    keep_last: bool,
) -> QnnResult:
    """Do the part of one worker."""
    config, chief = with_shared_seeds(config, workers), workers.place.chief
    switches = settled(config.switches, "qnn")
    if not (switches.quantize_descriptor and switches.quantize_fitting_net):
        raise InputError(f"{config.source}: nvnmd/quantize_*: a half alone is not the training of "
                         "the quantized network")
    weights, tables = load_stage(config, cnn_dir)
    training = config.training
    systems, neighbors = load_data(config, training.systems, overflow, training.set_prefix)
    log(f"training data: {summary(systems)}")
    first_stage = weights
    if not switches.restore_fitting_net:
        weights = with_fresh_fitting(weights, config, neighbors, log, write=chief)
    before = with_shared_weights(weights, workers)
    checkpoint = None
    if restart is not None:
        checkpoint = load_restart(restart, config, "qnn")
        weights = checkpoint_weights(checkpoint, weights, restart, cnn_dir)
    weights = with_shared_weights(weights, workers)
    start = freeze_model(weights, tables, config)

    check_same(workers, input_document=config.normalized, data=data_facts(systems),
               checkpoint=None if checkpoint is None else checkpoint.step,
               model=start.digest)
    train_part = Part(systems, training.batch_size, start, neighbors, training.seed,
                       training.auto_prob, training.sys_probs, workers.place,
                       training.mixed_batch)
    frames = train_part.frames
    # before any step: does every word of a real frame fit its format?
    _reference(start, frames, neighbors)
    valid_part = None
    if training.validation_systems:
        valid_part = validation_part(config, start, overflow, log)
    model = TfQuantizedModel(start, weights, relative_f=config.loss.relative_f,
                             gradient_max_norm=training.gradient_max_norm,
                             train_fitting=config.fitting.trainable,
                             atom_ener=config.fitting.atom_ener)
    run = TrainingLoop("qnn", config, out_dir, model, train_part, valid_part, log, workers)
    if checkpoint is not None:
        run.restore(checkpoint)
        log(f"continuing at step {checkpoint.step}")
    seconds = run.loop()
    warn_dropped(neighbors, log)

    origin: dict[str, str | int] = {"command": "train-qnn", "steps": run.step}
    frozen = freeze_model(model.weights, tables, config, origin=origin)
    _check_against_reference(model, frozen, frames, neighbors)
    log("check: the first frame's energies and forces have the bits of the integer reference")
    # the first stage's weights, not the checkpoint's: a continued run ends as an uninterrupted one
    trained = on_grid(model.weights, before if switches.restore_fitting_net else None)
    if switches.restore_fitting_net and not keep_last:
        judged, name = ((train_part, "training") if valid_part is None
                        else (valid_part, "validation"))
        trained = better_weights(
            config, before, trained,
            lambda weights: TfQuantizedModel(start, weights,
                                             atom_ener=config.fitting.atom_ener).predict,
            judged.frames, name, log, workers)
        if trained is before:
            origin["weights"] = "those of the first stage"
    frozen = freeze_model(trained, tables, config, origin=origin)
    trained = dataclasses.replace(trained, t_bias_atom_e=frozen.t_bias_atom_e)
    frozen = dataclasses.replace(frozen, extras=stage_extras(frozen, first_stage))
    if chief:
        bare = dataclasses.replace(
            trained, embedding=((),) * len(trained.embedding), type_net=())
        write_dict(out_dir / "weight.npy", bare.to_deepmd(config.descriptor.sel))
        write_dict(out_dir / "config.npy", deepmd_config(config, trained))
        frozen.save(out_dir / MODEL_FILE)
        log(f"model: {out_dir / MODEL_FILE} (digest {frozen.digest[:12]})")
    workers.wait()
    return QnnResult(
        folder=out_dir,
        model_file=out_dir / MODEL_FILE,
        model=frozen,
        step=run.step,
        seconds_per_step=seconds,
    )


def validation_part(config: RunConfig, model: Model, overflow: Overflow, log: Log) -> Part:
    """Read the validation part."""
    training = config.training
    systems, neighbors = load_data(
        config, training.validation_systems, overflow, training.validation_set_prefix)
    log(f"validation data: {summary(systems)}")
    sizes = training.validation_batch_size or (1,) * len(pools(systems))
    return Part(systems, sizes, model, neighbors, training.seed,
                 training.validation_auto_prob, training.validation_sys_probs)


def load_stage(config: RunConfig, folder: Path) -> tuple[FloatWeights, Tables]:
    """Read weights and tables of the continuous stage, and check that they belong to this input.

    Parameters
    ----------
    config : RunConfig
        The run; its files, where it names some, else those in the folder.
    folder : Path
        Of the continuous stage.
    """
    named = config.files
    weight_file, config_file, map_file = (
        Path(getattr(named, f"{key}_file") or folder / f"{key}.npy")
        for key in ("weight", "config", "map"))
    if not weight_file.parent.is_dir():
        raise InputError(f"{weight_file.parent}: no such folder, expected the output of train-cnn "
                         "(--cnn DIR)")
    weights = read_weights(weight_file, config, config_file=config_file)
    return weights, read_map(map_file)


def with_fresh_fitting(
    weights: FloatWeights, config: RunConfig, neighbors: NeighborCache, log: Log, *, write: bool
) -> FloatWeights:
    """Return weights with fitting nets drawn anew and the energies of the data's types.

    `write` is that of `nvnmd.statistics_file.training_statistics`.
    """
    statistics = training_statistics(config, neighbors, log, write=write)
    drawn = initial_weights(config.descriptor, config.fitting, statistics, config.version)
    keep = Switches(restore_descriptor=True, restore_fitting_net=False)
    found = restored(drawn, weights, keep)
    return dataclasses.replace(found, min_nbor_dist=weights.min_nbor_dist)


def checkpoint_weights(
    checkpoint: Checkpoint, cnn: FloatWeights, source: Path, folder: Path
) -> FloatWeights:
    """Take the weights of a checkpoint, which must have grown from this continuous stage."""
    try:
        weights = FloatWeights.from_arrays(unprefixed(checkpoint.arrays, "weights"))
    except KeyError as error:
        raise ModelFileError(f"{source}: the array {error} is missing") from None
    theirs, ours = weights.arrays(), cnn.arrays()
    for name, array in ours.items():
        fixed = not name.startswith("fitting.") and name != "tweight"
        if fixed and not np.array_equal(theirs.get(name, np.empty(0)), array):
            raise InputError(
                f"{source}: its {name} is not that of {folder}; continue with the folder of the "
                "continuous stage it began with"
            )
    return weights


def _reference(
    model: Model, frames: QuantizedFrames, neighbors: NeighborCache
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Atomic energies (n,) and forces (n, 3) of the first frame by the integer reference.

    Raises
    ------
    RangeError
        A value leaves its format, which the training itself does not look for.
    """
    data = neighbors.systems[0]
    rij, index = frames.slots(0, 0)
    types = np.sort(data.types)
    try:
        trace = evaluate_atoms(model, types, rij, index >= 0, types[index])
    except RangeError as error:
        raise RangeError(f"{data.path}: frame 0: {error}") from None
    return trace.atom_energy, assemble_forces(trace.deriv, rij, index).force


def _check_against_reference(
    model: TfQuantizedModel, frozen: Model, frames: QuantizedFrames, neighbors: NeighborCache
) -> None:
    """Compare the trained network with the integer reference on the first frame.

    Raises
    ------
    RangeError
        A value leaves its format.
    AssertionError
        A bit differs, which is a mistake in the program.
    """
    energy, force = _reference(frozen, frames, neighbors)
    prediction = model.predict(frames.batch(0, [0]), once=True)
    for name, found, expected in (
        ("atomic energy", prediction.atom_energy[0], energy),
        ("force", prediction.force[0], force),
    ):
        if not np.array_equal(found, expected):
            raise AssertionError(f"{name}: the trained network and the reference differ")
