"""The continuous stage: training the float model, `train-cnn`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nvnmd.deepmd.files import write_dict
from nvnmd.deepmd.tables import map_folder
from nvnmd.deepmd.weights import to_deepmd
from nvnmd.errors import InputError
from nvnmd.inputs.config import RunConfig
from nvnmd.neighbors.slots import Overflow
from nvnmd.network.vacuum import vacuum_bias
from nvnmd.network.weights import FloatWeights
from nvnmd.progress import Log, after_last_step
from nvnmd.training.continuous.setup import ContinuousSetup, prepare_continuous
from nvnmd.training.continuous.tf_model import TfFloatModel
from nvnmd.training.loop import TrainingLoop
from nvnmd.training.weight_grid import on_grid
from nvnmd.training.workers import Workers, joined


@dataclass(frozen=True, kw_only=True)
class CnnResult:
    """Result of a continuous stage.

    Attributes
    ----------
    folder : Path
        Where its files are.
    step : int
        Steps finished.
    weights : FloatWeights
        The trained model.
    seconds_per_step : float
        Mean wall time of a step in this run, compilation included.
    """

    folder: Path
    step: int
    weights: FloatWeights
    seconds_per_step: float


def train_cnn(
    config: RunConfig,
    out_dir: Path,
    *,
    restart: Path | None = None,
    init_model: Path | None = None,
    log: Log = print,
    overflow: Overflow = "error",
    xla: bool | None = None,
    workers: Workers | None = None,
    model_class: type[TfFloatModel] = TfFloatModel,
    force: bool = False,
    allow_changed_data: bool = False,
) -> CnnResult:
    """Train the float model and write everything the next stage needs.

    With `restore_descriptor` the embedding nets and the statistics are those of `weight_file` and
    stay so; with `restore_fitting_net` the fitting nets begin with those there.

    Parameters
    ----------
    config : RunConfig
        The run.
    out_dir : Path
        Folder for `train.json`, `lcurve.out`, checkpoints, `weights.npz`, `weight.npy`,
        `config.npy` and `map.npy`; made if missing.
    restart : Path, optional
        Checkpoint to continue exactly: same weights, optimizer, order of frames and step.
    init_model : Path, optional
        Checkpoint or `weights.npz` to take weights and statistics from; everything else begins
        anew.
    log : callable
        Takes lines of text.
    overflow : {"error", "truncate"}
        See `build_neighborhood`.
    xla : bool, optional
        Run the TensorFlow graph, compiled with XLA or not. By default the compiled passes of
        `nvnmd.training.continuous.compiled_model`, and where these do not serve the graph, with
        XLA for trainings of at least `XLA_STEPS` steps per layout.
    workers : Workers, optional
        The processes that share the training, as
        `nvnmd.training.tf_workers.workers_of_environment` gives them; each calls this function,
        and the chief writes the files. By default one.
    model_class : type
        The model in TensorFlow's graph; `nvnmd.training.partial.fixed_fitting` hands over another,
        for documents whose `quantize_fitting_net` is true.
    force : bool
        Replace a training that is in `out_dir`; otherwise it must be continued, or there must be
        none.
    allow_changed_data : bool
        Continue on data that are not those the checkpoint was trained on.

    Returns
    -------
    CnnResult

    Raises
    ------
    InputError, ModelFileError, NeighborOverflowError
        Data, input or checkpoint are not usable, or `out_dir` holds another training.
    NvnmdError
        The training diverged.
    KeyboardInterrupt
        Ctrl-C, after a checkpoint has been written.
    """
    if restart is not None and init_model is not None:
        raise InputError("restart and init_model exclude each other")
    with joined(workers, log) as (workers, log):
        setup = prepare_continuous(
            config, out_dir, restart, init_model, log, overflow, xla, workers, force=force,
            allow_changed_data=allow_changed_data)
        if setup.fixed_fitting and model_class is TfFloatModel:
            raise InputError(f"{config.source}: nvnmd/quantize_fitting_net: got true, expected "
                             "false for the training of float fitting nets")
        return _train(setup, log, workers, model_class)


def _train(setup: ContinuousSetup, log: Log, workers: Workers, model_class: type[TfFloatModel]
           ) -> CnnResult:
    """Do the part of one worker."""
    model = _model(setup, model_class)
    folder = setup.loop.folder
    with TrainingLoop(setup.loop, model, setup.training, setup.validation, log, workers) as run:
        if setup.checkpoint is not None:
            run.restore(setup.checkpoint)
            log(f"continuing at step {setup.checkpoint.step}")
        seconds = run.loop()
        with after_last_step(setup.loop.newest):
            # the integer network rounds weights down: from here on there is nothing to round
            weights = on_grid(model.weights, fixed=setup.fixed_layers)
            weights = replace(weights, t_bias_atom_e=vacuum_bias(
                weights, setup.atom_ener, quantized=setup.fixed_fitting))
            if workers.place.chief:
                weights.save(folder / "weights.npz")
                write_dict(folder / "weight.npy", to_deepmd(weights, setup.model.sel))
                write_dict(folder / "config.npy", setup.describe(weights))
                log(f"tables: {map_folder(folder)}")
            workers.wait()
    return CnnResult(folder=folder, step=run.step, weights=weights, seconds_per_step=seconds)


def _model(setup: ContinuousSetup, model_class: type[TfFloatModel]) -> Any:
    """Return the model to train: with compiled passes, or as a TensorFlow graph."""
    if setup.compiled:
        # needs numba
        from nvnmd.training.continuous.compiled_model import CompiledFloatModel

        return CompiledFloatModel(setup.weights, **setup.model.arguments())
    return model_class(setup.weights, **setup.model.arguments(), atom_ener=setup.atom_ener,
                       precision=setup.precision, xla=setup.xla)
