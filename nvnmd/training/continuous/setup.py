"""The setup of the continuous stage: from an input document and its data to one frozen object.

Everything the stage asks of the document is asked here; the loop, the passes and what is written at
the end take what they need from the setup.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nvnmd.data.frame_pairs import largest_counts
from nvnmd.data.mixed import pools
from nvnmd.deepmd.config import deepmd_config, s_range
from nvnmd.errors import InputError, ModelFileError
from nvnmd.inputs.config import PrecisionConfig, RunConfig, Switches
from nvnmd.inputs.stage import settled
from nvnmd.mapping.other_layout import nearest_warning
from nvnmd.neighbors.slots import Overflow
from nvnmd.network.initial_weights import initial_weights
from nvnmd.network.vacuum import given_energies
from nvnmd.network.weights import FloatWeights
from nvnmd.progress import Log
from nvnmd.threads import installed
from nvnmd.training.checkpoint import Checkpoint, unprefixed
from nvnmd.training.continuous.part import Part
from nvnmd.training.data import (
    data_facts,
    load_data,
    summary,
    warn_dropped,
    warn_implausible,
)
from nvnmd.training.folder import check_folder
from nvnmd.training.identity import check_data, data_digests, load_restart, restart_file
from nvnmd.training.restore import check_sizes, read_weights, restored
from nvnmd.training.setup import LoopSetup, loop_setup
from nvnmd.training.statistics_file import training_statistics
from nvnmd.training.workers import Workers, check_same, with_shared_seeds, with_shared_weights

# XLA takes some seconds to compile each layout; trainings with fewer steps per layout do not earn
# them back.
XLA_STEPS = 1500
# The tables hold this much of s above its least value.
S_SPAN = {1: 16.0, 2: 32.0}


@dataclass(frozen=True, kw_only=True)
class ModelSetup:
    """Settings of the model that is trained, without its weights.

    Attributes
    ----------
    sel, rcut, rcut_smth, axis_neuron
        Of the descriptor; Å.
    relative_f : float or None
        See `LossConfig`.
    gradient_max_norm : float
        Longest gradient; 0 for any.
    train_embedding, train_types : bool
        Whether the embedding nets and what version 1 has of the types are trained.
    train_fitting : tuple of bool or None
        Which layers of the fitting nets are.
    """

    sel: tuple[int, ...]
    rcut: float
    rcut_smth: float
    axis_neuron: int
    relative_f: float | None
    gradient_max_norm: float
    train_embedding: bool
    train_types: bool
    train_fitting: tuple[bool, ...] | None

    def arguments(self) -> dict[str, Any]:
        """Return them by name, for the models."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class ContinuousSetup:
    """A continuous stage that is ready to be trained, in one worker.

    Attributes
    ----------
    loop : LoopSetup
        What the loop needs.
    training, validation : Part
        The data, as batches.
    weights : FloatWeights
        Where this run begins.
    checkpoint : Checkpoint or None
        What the run continues.
    model : ModelSetup
        What the model is made of.
    compiled : bool
        Whether the compiled passes serve; else TensorFlow's graph.
    xla : bool
        Whether the graph is compiled with XLA.
    atom_ener : tuple of float or None
        Given energies of lone atoms.
    precision : PrecisionConfig
        Number formats of the nets.
    fixed_layers : tuple of int
        Layers of the fitting nets that stay as they are.
    fixed_fitting : bool
        Whether the fitting nets are in fixed point.
    describe : callable
        Gives the content of `config.npy` for the trained weights.
    """

    loop: LoopSetup
    training: Part
    validation: Part | None
    weights: FloatWeights
    checkpoint: Checkpoint | None
    model: ModelSetup
    compiled: bool
    xla: bool
    atom_ener: tuple[float | None, ...]
    precision: PrecisionConfig
    fixed_layers: tuple[int, ...]
    fixed_fitting: bool
    describe: Callable[[FloatWeights], dict[str, Any]]


def prepare_continuous(
    config: RunConfig,
    out_dir: Path,
    restart: Path | None,
    init_model: Path | None,
    log: Log,
    overflow: Overflow,
    xla: bool | None,
    workers: Workers,
    *,
    force: bool,
    allow_changed_data: bool,
) -> ContinuousSetup:
    """Read everything and agree with the other workers; nothing is written but a `stat_file`.

    Parameters
    ----------
    config, out_dir, restart, init_model, log, overflow, xla, workers, force, allow_changed_data
        See `nvnmd.training.continuous.train.train_cnn`.

    Raises
    ------
    InputError, ModelFileError, NeighborOverflowError
        Data, input or checkpoint are not usable.
    """
    config, chief = with_shared_seeds(config, workers), workers.place.chief
    kind = "qnn" if config.stage == "qnn" else "cnn"
    switches = settled(config.switches, kind)
    _check_switches(config, switches, init_model)
    restart = restart_file(restart, config)
    loop = loop_setup(kind, config, out_dir, restart=restart, force=force)
    if chief:
        check_folder(loop)
    checkpoint = None if restart is None else load_restart(restart, config, kind)

    training = config.training
    systems, cache = load_data(config, training.systems, overflow, training.set_prefix)
    log(f"training data: {summary(systems)}")
    if chief:
        warn_implausible(config, systems, log)
    statistics = training_statistics(config, cache, log, write=chief)
    slots = statistics.largest_counts
    log(
        f"statistics: smallest distance {statistics.min_nbor_dist:.4f} Å, most neighbours"
        f"{'' if config.version == 1 else ' per type'} "
        f"{slots.tolist()} of sel {list(config.descriptor.sel)}"
    )
    descriptor = config.descriptor
    costly = nearest_warning(config.tables, descriptor.rcut, descriptor.rcut_smth,
                             statistics.min_nbor_dist, octave=config.sub_version == 1)
    if costly is not None:
        log(f"warning: {costly}")
    warn_dropped(cache, log)
    held_out = None
    if training.validation_systems:
        held_out = load_data(
            config, training.validation_systems, overflow, training.validation_set_prefix)
        slots = np.maximum(slots, largest_counts(held_out[1]))
        log(f"validation data: {summary(held_out[0])}")
    slots = np.clip(slots, 1, config.descriptor.sel)
    digests = {"training": data_digests(systems),
               "validation": data_digests([] if held_out is None else held_out[0])}
    if checkpoint is not None and restart is not None:
        check_data(checkpoint, restart, digests, log, allow=allow_changed_data)

    if checkpoint is not None:
        assert restart is not None
        weights = FloatWeights.from_file(unprefixed(checkpoint.arrays, "weights"), restart)
    elif init_model is not None:
        weights = _load_initial(init_model, config)
    else:
        weights = initial_weights(
            config.descriptor, config.fitting, statistics, config.version, config.sub_version)
        if switches.restore_descriptor or switches.restore_fitting_net:
            weights = restored(weights, _source(config, kind, switches), switches)
    check_same(workers, input_document=config.normalized, data=data_facts(systems),
               checkpoint=None if checkpoint is None else checkpoint.step)
    weights = with_shared_weights(weights, workers)
    low, high = s_range(weights, config.descriptor.rcut, config.descriptor.rcut_smth)
    # octave tables have coarser rows where they must
    span = S_SPAN[config.sub_version if config.tables == "vendor" else 2]
    if high - low > span:
        log(
            f"warning: s spans {high - low:.1f}, but its table {span:.0f}; "
            "the data hold very short distances"
        )

    compiled = _compiled(config, switches, xla, log)
    part = Part(systems, training.batch_size, cache, slots, training.seed, training.auto_prob,
                training.sys_probs, workers.place, training.mixed_batch, listed=compiled)
    validation = None
    if held_out is not None:
        sizes = training.validation_batch_size or (1,) * len(pools(held_out[0]))
        validation = Part(held_out[0], sizes, held_out[1], slots, training.seed,
                          training.validation_auto_prob, training.validation_sys_probs,
                          listed=compiled)
    return ContinuousSetup(
        loop=replace(loop, data=digests),
        training=part,
        validation=validation,
        weights=weights,
        checkpoint=checkpoint,
        model=ModelSetup(
            sel=descriptor.sel,
            rcut=descriptor.rcut,
            rcut_smth=descriptor.rcut_smth,
            axis_neuron=descriptor.axis_neuron,
            relative_f=config.loss.relative_f,
            gradient_max_norm=training.gradient_max_norm,
            train_embedding=descriptor.trainable and not switches.restore_descriptor,
            train_types=not switches.restore_descriptor,
            train_fitting=config.fitting.trainable,
        ),
        compiled=compiled,
        xla=_worth_compiling(part, validation, training.numb_steps) if xla is None else xla,
        atom_ener=tuple(config.fitting.atom_ener),
        precision=config.precision,
        fixed_layers=tuple(config.fitting.fixed_layers),
        fixed_fitting=bool(switches.quantize_fitting_net),
        describe=partial(deepmd_config, config),
    )


def _check_switches(config: RunConfig, switches: Switches, init_model: Path | None) -> None:
    """Raise InputError if the document is not one of a float descriptor."""
    if switches.quantize_descriptor:
        raise InputError(f"{config.source}: nvnmd/quantize_descriptor: got true, expected false "
                         "for the training of a float descriptor")
    if (switches.restore_descriptor or switches.restore_fitting_net) and init_model is not None:
        name = "descriptor" if switches.restore_descriptor else "fitting_net"
        raise InputError(f"{config.source}: nvnmd/restore_{name}: got true, expected false "
                         "together with --init-model, which restores everything")


def _compiled(config: RunConfig, switches: Switches, xla: bool | None, log: Log) -> bool:
    """Whether the compiled passes serve.

    They do not for quantized fitting nets, formats other than binary64 and energies of lone atoms;
    nor where numba is missing, or XLA is spoken of.
    """
    special = switches.quantize_fitting_net or config.precision != PrecisionConfig()
    if special or xla is not None or given_energies(config.fitting.atom_ener) is not None:
        return False
    if not installed():
        log("numba is not installed: training is slower, with the same results; "
            "pip install 'nvnmd[fast]'")
    return installed()


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


def _worth_compiling(training: Part, validation: Part | None, steps: int) -> bool:
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
