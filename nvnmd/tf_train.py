"""The continuous stage: training the float model, `train-cnn`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.batches import Batch, make_layouts, pack
from nvnmd.checkpoint import unprefixed
from nvnmd.config import PrecisionConfig, RunConfig, Switches
from nvnmd.data import System
from nvnmd.data_mixed import pools
from nvnmd.deepmd_config import deepmd_config, s_range
from nvnmd.deepmd_files import write_dict
from nvnmd.errors import InputError, ModelFileError
from nvnmd.frame_pairs import NeighborCache, largest_counts
from nvnmd.initial_weights import initial_weights
from nvnmd.input_stage import settled
from nvnmd.mixed_batches import FrameDraws
from nvnmd.neighbors import Overflow
from nvnmd.progress import Log, after_last_step
from nvnmd.quantize.fast import installed
from nvnmd.restore import check_sizes, read_weights, restored
from nvnmd.statistics_file import training_statistics
from nvnmd.tf_model import TfFloatModel
from nvnmd.tf_part_models import FixedFittingModel
from nvnmd.training_loop import (
    TrainingLoop,
    data_facts,
    load_data,
    load_restart,
    summary,
    warn_dropped,
)
from nvnmd.vacuum import given_energies, vacuum_bias
from nvnmd.weight_grid import on_grid
from nvnmd.weights import FloatWeights
from nvnmd.workers import (
    Place,
    Workers,
    check_same,
    joined,
    with_shared_seeds,
    with_shared_weights,
)

if TYPE_CHECKING:
    from nvnmd.pair_lists import PairBatch

# XLA takes some seconds to compile each layout; trainings with fewer steps per layout do not earn
# them back.
XLA_STEPS = 1500
# The tables hold this much of s above its least value.
S_SPAN = 16.0


@dataclass(frozen=True, kw_only=True)
class CnnResult:
    """What a continuous stage ended with.

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


class _Part:
    """A part of the data (training or validation) with its sampler and layouts.

    With `listed`, batches are those of the compiled passes.
    """

    def __init__(
        self,
        systems: Sequence[System],
        batch_sizes: Sequence[int],
        cache: NeighborCache,
        slots: NDArray[np.int64],
        seed: int | None,
        auto_prob: str,
        sys_probs: Sequence[float] | None,
        place: Place = Place(),  # noqa: B008
        merged: bool = False,
    ) -> None:
        self.cache, self.listed = cache, False
        self.frames = FrameDraws(systems, batch_sizes, seed, place, merged=merged,
                                 auto_prob=auto_prob, sys_probs=sys_probs)
        self.layouts = make_layouts(systems, self.frames.sizes, slots.tolist(),
                                    ntypes=cache.ntypes, mates=self.frames.mates)
        self.sampler = self.frames.sampler

    def draw(self) -> Batch | PairBatch:
        which, frames = self.frames()
        if self.listed:
            from nvnmd.pair_lists import pack_pairs

            return pack_pairs(self.cache, which, frames)
        return pack(self.cache, which, frames, self.layouts[which[0]])


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
) -> CnnResult:
    """Train the float model and write everything the next stage needs.

    With `restore_descriptor` the embedding nets and the statistics are those of `weight_file` and
    stay so; with `restore_fitting_net` the fitting nets begin with those there. Under train-qnn,
    where only `quantize_fitting_net` is true, the fitting nets are quantized.

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
        `nvnmd.tf_compiled_model`, and where these do not serve the graph, with XLA for trainings of
        at least `XLA_STEPS` steps per layout.
    workers : Workers, optional
        The processes that share the training, as `nvnmd.tf_workers.workers_of_environment` gives
        them; each calls this function, and the chief writes the files. By default one.

    Returns
    -------
    CnnResult

    Raises
    ------
    InputError, ModelFileError, NeighborOverflowError
        Data, input or checkpoint are not usable.
    NvnmdError
        The training diverged.
    KeyboardInterrupt
        Ctrl-C, after a checkpoint has been written.
    """
    if restart is not None and init_model is not None:
        raise InputError("restart and init_model exclude each other")
    with joined(workers, log) as (workers, log):
        return _train(config, out_dir, restart, init_model, log, overflow, xla, workers)


def _train(
    config: RunConfig,
    out_dir: Path,
    restart: Path | None,
    init_model: Path | None,
    log: Log,
    overflow: Overflow,
    xla: bool | None,
    workers: Workers,
) -> CnnResult:
    """Do the part of one worker."""
    config, chief = with_shared_seeds(config, workers), workers.place.chief
    kind = "qnn" if config.stage == "qnn" else "cnn"
    switches = settled(config.switches, kind)
    if switches.quantize_descriptor:
        raise InputError(f"{config.source}: nvnmd/quantize_descriptor: got true, expected false "
                         "for the training of a float descriptor")
    restores = switches.restore_descriptor or switches.restore_fitting_net
    if restores and init_model is not None:
        name = "descriptor" if switches.restore_descriptor else "fitting_net"
        raise InputError(f"{config.source}: nvnmd/restore_{name}: got true, expected false "
                         "together with --init-model, which restores everything")
    checkpoint = None if restart is None else load_restart(restart, config, kind)

    training = config.training
    systems, cache = load_data(config, training.systems, overflow, training.set_prefix)
    log(f"training data: {summary(systems)}")
    statistics = training_statistics(config, cache, log, write=chief)
    slots = statistics.largest_counts
    log(
        f"statistics: smallest distance {statistics.min_nbor_dist:.4f} Å, most neighbours"
        f"{'' if config.version == 1 else ' per type'} "
        f"{slots.tolist()} of sel {list(config.descriptor.sel)}"
    )
    warn_dropped(cache, log)
    valid_systems: list[System] = []
    valid_cache = None
    if training.validation_systems:
        valid_systems, valid_cache = load_data(
            config, training.validation_systems, overflow, training.validation_set_prefix)
        slots = np.maximum(slots, largest_counts(valid_cache))
        log(f"validation data: {summary(valid_systems)}")
    slots = np.clip(slots, 1, config.descriptor.sel)

    if checkpoint is not None:
        assert restart is not None
        weights = FloatWeights.from_file(unprefixed(checkpoint.arrays, "weights"), restart)
    elif init_model is not None:
        weights = _load_initial(init_model, config)
    else:
        weights = initial_weights(
            config.descriptor, config.fitting, statistics, config.version
        )
        if restores:
            weights = restored(weights, _source(config, kind, switches), switches)
    check_same(workers, input_document=config.normalized, data=data_facts(systems),
               checkpoint=None if checkpoint is None else checkpoint.step)
    weights = with_shared_weights(weights, workers)
    low, high = s_range(weights, config.descriptor.rcut, config.descriptor.rcut_smth)
    if high - low > S_SPAN:
        log(
            f"warning: s spans {high - low:.1f}, but its table {S_SPAN:.0f}; "
            "the data hold very short distances"
        )

    train_part = _Part(systems, training.batch_size, cache, slots, training.seed,
                       training.auto_prob, training.sys_probs, workers.place,
                       training.mixed_batch)
    valid_part = None
    if valid_cache is not None:
        sizes = training.validation_batch_size or (1,) * len(pools(valid_systems))
        valid_part = _Part(valid_systems, sizes, valid_cache, slots, training.seed,
                           training.validation_auto_prob, training.validation_sys_probs)
    model_class = FixedFittingModel if switches.quantize_fitting_net else TfFloatModel
    compiled = _compiled(config, weights, switches, xla, log)
    for part in (train_part, valid_part):
        if part is not None:
            part.listed = compiled is not None
    model = compiled or model_class(
        weights,
        sel=config.descriptor.sel,
        rcut=config.descriptor.rcut,
        rcut_smth=config.descriptor.rcut_smth,
        axis_neuron=config.descriptor.axis_neuron,
        relative_f=config.loss.relative_f,
        gradient_max_norm=training.gradient_max_norm,
        train_embedding=config.descriptor.trainable and not switches.restore_descriptor,
        train_types=not switches.restore_descriptor,
        train_fitting=config.fitting.trainable,
        atom_ener=config.fitting.atom_ener,
        precision=config.precision,
        xla=_worth_compiling(train_part, valid_part, training.numb_steps) if xla is None else xla,
    )
    run = TrainingLoop(kind, config, out_dir, model, train_part, valid_part, log, workers)
    if checkpoint is not None:
        run.restore(checkpoint)
        log(f"continuing at step {checkpoint.step}")
    seconds = run.loop()

    with after_last_step(out_dir / Path(training.save_ckpt).name):
        # the integer network rounds weights down: from here on there is nothing to round
        weights = on_grid(model.weights, fixed=config.fitting.fixed_layers)
        weights = replace(weights, t_bias_atom_e=vacuum_bias(
            weights, config.fitting.atom_ener, quantized=bool(switches.quantize_fitting_net)))
        if chief:
            weights.save(out_dir / "weights.npz")
            write_dict(out_dir / "weight.npy", weights.to_deepmd(config.descriptor.sel))
            write_dict(out_dir / "config.npy", deepmd_config(config, weights))
            from nvnmd.mapping_files import map_folder

            log(f"tables: {map_folder(out_dir)}")
        workers.wait()
    return CnnResult(folder=out_dir, step=run.step, weights=weights, seconds_per_step=seconds)


def _compiled(
    config: RunConfig, weights: FloatWeights, switches: Switches, xla: bool | None, log: Log
) -> Any:
    """Return the model with compiled passes, or None where the TensorFlow graph is needed.

    That is for quantized fitting nets, formats other than binary64 and energies of lone atoms; or
    where numba is missing, or XLA is spoken of.
    """
    special = switches.quantize_fitting_net or config.precision != PrecisionConfig()
    if special or xla is not None or given_energies(config.fitting.atom_ener) is not None:
        return None
    if not installed():
        log("numba is not installed: training is slower, with the same results; "
            "pip install 'nvnmd[fast]'")
        return None
    from nvnmd.tf_compiled_model import CompiledFloatModel

    return CompiledFloatModel(
        weights,
        sel=config.descriptor.sel,
        rcut=config.descriptor.rcut,
        rcut_smth=config.descriptor.rcut_smth,
        axis_neuron=config.descriptor.axis_neuron,
        relative_f=config.loss.relative_f,
        gradient_max_norm=config.training.gradient_max_norm,
        train_embedding=config.descriptor.trainable and not switches.restore_descriptor,
        train_types=not switches.restore_descriptor,
        train_fitting=config.fitting.trainable,
    )


def _source(config: RunConfig, kind: str, switches: Switches) -> FloatWeights:
    """Read the weights to restore."""
    files = config.files
    if files.weight_file is None:
        raise InputError(f"{config.source}: nvnmd/weight_file: missing key, expected the weights "
                         "to restore")
    # in train-cnn the config_file is one to write
    beside = files.config_file if kind == "qnn" else None
    return read_weights(
        Path(files.weight_file), config, embedding=bool(switches.restore_descriptor),
        config_file=None if beside is None else Path(beside))


def _worth_compiling(training: _Part, validation: _Part | None, steps: int) -> bool:
    """Whether XLA pays; depends on the input only, so that a restart computes the same bits."""
    parts = [training] if validation is None else [training, validation]
    layouts = {layout for part in parts for layout in part.layouts}
    return steps >= XLA_STEPS * len(layouts)


def _load_initial(path: Path, config: RunConfig) -> FloatWeights:
    """Read weights from a weight file or a checkpoint."""
    try:
        weights = FloatWeights.load(path)
    except ModelFileError as error:
        if path.is_file() and path.name == "weights.npz":
            raise error
        checkpoint = load_restart(path, config, "cnn")
        return FloatWeights.from_file(unprefixed(checkpoint.arrays, "weights"), path)
    check_sizes(weights, path, config)
    return weights
