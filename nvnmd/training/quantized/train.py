"""The quantized stage: training the fitting nets inside the quantized network, `train-qnn`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nvnmd.deepmd.extras import stage_extras
from nvnmd.deepmd.files import write_dict
from nvnmd.deepmd.weights import to_deepmd
from nvnmd.errors import InputError, RangeError
from nvnmd.inputs.config import RunConfig
from nvnmd.inputs.stage import settled
from nvnmd.neighbors.slots import Overflow
from nvnmd.progress import Log, after_last_step
from nvnmd.quantize.forces import assemble_forces
from nvnmd.quantize.model import Model
from nvnmd.quantize.reference import evaluate_atoms
from nvnmd.training.quantized.batches import QuantizedFrames
from nvnmd.training.quantized.keep_better import better_weights
from nvnmd.training.quantized.model import TfQuantizedModel
from nvnmd.training.quantized.seen import seen_by
from nvnmd.training.quantized.setup import QuantizedSetup, prepare_quantized, trained_model
from nvnmd.training.weight_grid import on_grid
from nvnmd.training.workers import Workers, joined

MODEL_FILE = "model.nvnmd"


@dataclass(frozen=True, kw_only=True)
class QnnResult:
    """Result of a quantized stage.

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
    force: bool = False,
    allow_changed_data: bool = False,
) -> QnnResult:
    """Train the fitting nets of the quantized network, and write the frozen model.

    Embedding nets, statistics and tables are those of the continuous stage and stay as they are.
    Without `restore_fitting_net` the fitting nets are drawn anew; with it, weights that are no
    better than those of the continuous stage are discarded (see
    `nvnmd.training.quantized.keep_better.objection`).

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
        See `nvnmd.training.continuous.train.train_cnn`.
    keep_last : bool
        Whether the model has the weights of the last step in any case.
    force, allow_changed_data : bool
        See `nvnmd.training.continuous.train.train_cnn`.

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
    with joined(workers, log) as (workers, log):
        switches = settled(config.switches, "qnn")
        if not (switches.quantize_descriptor and switches.quantize_fitting_net):
            raise InputError(f"{config.source}: nvnmd/quantize_*: a half alone is not the training "
                             "of the quantized network")
        setup = prepare_quantized(config, cnn_dir, out_dir, restart, log, overflow, workers,
                                  force=force, allow_changed_data=allow_changed_data)
        return _train(setup, keep_last, log, workers)


def _train(setup: QuantizedSetup, keep_last: bool, log: Log, workers: Workers) -> QnnResult:
    """Do the part of one worker."""
    folder, frames = setup.loop.folder, setup.training.frames
    # before any step: does every word of a real frame fit its format?
    _reference(setup.start, frames)
    with (
        trained_model(setup, TfQuantizedModel, log, workers) as (model, steps, seconds),
        after_last_step(setup.loop.newest),
    ):
        origin: dict[str, str | int] = {"command": "train-qnn", "steps": steps}
        _check_against_reference(model, setup.freeze(model.weights, setup.tables), frames)
        log("check: the first frame's energies and forces have the bits of the integer reference")
        # the first stage's weights, not the checkpoint's: a continued run ends as one that was not
        # interrupted
        before = setup.before if setup.restored else None
        trained = on_grid(model.weights, before)
        if before is not None and not keep_last:
            trained = better_weights(setup.judged, before, trained, setup.predict_with,
                                     *setup.judges, log, workers)
            if trained is before:
                origin["weights"] = "those of the first stage"
        frozen = setup.freeze(trained, setup.tables, origin=origin)
        trained = dataclasses.replace(trained, t_bias_atom_e=frozen.t_bias_atom_e)
        frozen = dataclasses.replace(frozen, extras=stage_extras(frozen, setup.first_stage),
                                     seen=seen_by(frames))
        if workers.place.chief:
            bare = dataclasses.replace(
                trained, embedding=((),) * len(trained.embedding), type_net=())
            write_dict(folder / "weight.npy", to_deepmd(bare, setup.sel))
            write_dict(folder / "config.npy", setup.describe(trained))
            frozen.save(folder / MODEL_FILE)
            log(f"model: {folder / MODEL_FILE} (digest {frozen.digest[:12]})")
        workers.wait()
    return QnnResult(folder=folder, model_file=folder / MODEL_FILE, model=frozen, step=steps,
                     seconds_per_step=seconds)


def _reference(
    model: Model, frames: QuantizedFrames
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Atomic energies (n,) and forces (n, 3) of the first frame by the integer reference.

    Raises
    ------
    RangeError
        A value leaves its format, which the training itself does not look for.
    """
    data = frames.neighbors.systems[0]
    rij, index = frames.slots(0, 0)
    types = np.sort(data.types)
    atoms = types, rij, index >= 0, types[index]
    try:
        if model.sub_version == 2:
            # the graph has no formats, a machine has
            evaluate_atoms(model, *atoms, "machine")
        trace = evaluate_atoms(model, *atoms)
    except RangeError as error:
        raise RangeError(f"{data.path}: frame 0: {error}") from None
    return trace.atom_energy, assemble_forces(trace.deriv, rij, index).force


def _check_against_reference(
    model: TfQuantizedModel, frozen: Model, frames: QuantizedFrames
) -> None:
    """Compare the trained network with the integer reference on the first frame.

    Raises
    ------
    RangeError
        A value leaves its format.
    AssertionError
        A bit differs, which is a mistake in the program.
    """
    energy, force = _reference(frozen, frames)
    prediction = model.predict(frames.batch(0, [0]), once=True)
    for name, found, expected in (
        ("atomic energy", prediction.atom_energy[0], energy),
        ("force", prediction.force[0], force),
    ):
        if not np.array_equal(found, expected):
            raise AssertionError(f"{name}: the trained network and the reference differ")
