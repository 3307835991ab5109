"""The setup of the stages behind a quantized descriptor: from a document to one frozen object.

Everything these stages ask of the document is asked here; the loop, the passes and what is written
at the end take what they need from the setup.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nvnmd.data.frame_pairs import NeighborCache
from nvnmd.data.mixed import pools
from nvnmd.data.systems import System
from nvnmd.deepmd.config import deepmd_config
from nvnmd.deepmd.tables import read_map
from nvnmd.errors import InputError
from nvnmd.inputs.config import RunConfig, Switches
from nvnmd.inputs.stage import settled
from nvnmd.mapping.build import Tables
from nvnmd.mapping.freeze import freeze_model
from nvnmd.neighbors.slots import Overflow
from nvnmd.network.initial_weights import initial_weights
from nvnmd.network.weights import FloatWeights
from nvnmd.progress import Log
from nvnmd.quantize.model import Model
from nvnmd.training.checkpoint import Checkpoint, unprefixed
from nvnmd.training.data import data_facts, load_data, summary, warn_dropped
from nvnmd.training.folder import check_folder
from nvnmd.training.identity import check_data, data_digests, load_restart, restart_file
from nvnmd.training.loop import TrainingLoop
from nvnmd.training.mixed_batches import FrameDraws
from nvnmd.training.quantized.batches import QuantizedBatch, QuantizedFrames
from nvnmd.training.quantized.keep_better import Judged, Predict, judged_by
from nvnmd.training.quantized.model import TfQuantizedModel
from nvnmd.training.restore import read_weights, restored
from nvnmd.training.setup import LoopSetup, loop_setup
from nvnmd.training.statistics_file import training_statistics
from nvnmd.training.workers import (
    Place,
    Workers,
    check_same,
    with_shared_seeds,
    with_shared_weights,
)


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


@dataclass(frozen=True, kw_only=True)
class QuantizedSetup:
    """A stage that is ready to be trained, in one worker.

    Attributes
    ----------
    loop : LoopSetup
        What the loop needs.
    tables : Tables
        Of the descriptor.
    first_stage : FloatWeights
        What the continuous stage left.
    before : FloatWeights
        Where step 0 begins: that, or fitting nets drawn anew.
    weights : FloatWeights
        Where this run begins: that, or those of the checkpoint.
    start : Model
        Frozen from `weights`.
    training, validation : Part
        The data.
    checkpoint : Checkpoint or None
        What the run continues.
    sel : tuple of int
        Slots per neighbour type.
    relative_f : float or None
        See `LossConfig`.
    gradient_max_norm : float
        Longest gradient; 0 for any.
    train_fitting : tuple of bool or None
        Which layers of the fitting nets are trained.
    fixed_layers : tuple of int
        Those that are not.
    atom_ener : tuple of float or None
        Given energies of lone atoms.
    restored : bool
        Whether the fitting nets began as those of the continuous stage.
    judged : Judged
        What decides whether the training helped.
    freeze : callable
        Gives the frozen model of weights and tables.
    describe : callable
        Gives the content of `config.npy` for the trained weights.
    """

    loop: LoopSetup
    tables: Tables
    first_stage: FloatWeights
    before: FloatWeights
    weights: FloatWeights
    start: Model
    training: Part
    validation: Part | None
    checkpoint: Checkpoint | None
    sel: tuple[int, ...]
    relative_f: float | None
    gradient_max_norm: float
    train_fitting: tuple[bool, ...] | None
    fixed_layers: tuple[int, ...]
    atom_ener: tuple[float | None, ...]
    restored: bool
    judged: Judged
    freeze: Callable[..., Model]
    describe: Callable[[FloatWeights], dict[str, Any]]

    @property
    def judges(self) -> tuple[QuantizedFrames, str]:
        """The frames that tell whether the training helped, and what they are called."""
        if self.validation is None:
            return self.training.frames, "training"
        return self.validation.frames, "validation"

    def predict_with(self, weights: FloatWeights) -> Predict:
        """Return the integer network of some fitting nets."""
        return TfQuantizedModel(self.start, weights, atom_ener=self.atom_ener).predict


@contextmanager
def trained_model(
    setup: QuantizedSetup, kind: type[TfQuantizedModel], log: Log, workers: Workers
) -> Iterator[tuple[TfQuantizedModel, int, float]]:
    """Do the steps that are left; the output folder stays this training's to the block's end.

    Parameters
    ----------
    setup : QuantizedSetup
        What is to be done.
    kind : type
        Class of the model to train.
    log : callable
        Takes lines of text.
    workers : Workers
        Those that share the training.

    Yields
    ------
    model : TfQuantizedModel
        With the weights of the last step.
    step : int
        Steps finished.
    seconds : float
        Mean wall time of a step in this run.
    """
    model = kind(setup.start, setup.weights, relative_f=setup.relative_f,
                 gradient_max_norm=setup.gradient_max_norm, train_fitting=setup.train_fitting,
                 atom_ener=setup.atom_ener)
    with TrainingLoop(setup.loop, model, setup.training, setup.validation, log, workers) as run:
        if setup.checkpoint is not None:
            run.restore(setup.checkpoint)
            log(f"continuing at step {setup.checkpoint.step}")
        seconds = run.loop()
        warn_dropped(setup.training.frames.neighbors, log)
        yield model, run.step, seconds


def prepare_quantized(
    config: RunConfig,
    cnn_dir: Path,
    out_dir: Path,
    restart: Path | None,
    log: Log,
    overflow: Overflow,
    workers: Workers,
    *,
    force: bool,
    allow_changed_data: bool,
) -> QuantizedSetup:
    """Read everything and agree with the other workers; nothing is written yet.

    Parameters
    ----------
    config, cnn_dir, out_dir, restart, log, overflow, workers, force, allow_changed_data
        See `nvnmd.training.quantized.train.train_qnn`.

    Returns
    -------
    QuantizedSetup

    Raises
    ------
    InputError, ModelFileError, NeighborOverflowError
        Data, input, the continuous stage's folder or the checkpoint are not usable.
    """
    config, chief = with_shared_seeds(config, workers), workers.place.chief
    restart = restart_file(restart, config)
    loop = loop_setup("qnn", config, out_dir, restart=restart, force=force)
    if chief:
        check_folder(loop)
    weights, tables = load_stage(config, cnn_dir)
    training = config.training
    systems, neighbors = load_data(config, training.systems, overflow, training.set_prefix)
    log(f"training data: {summary(systems)}")
    first_stage = weights
    if not settled(config.switches, "qnn").restore_fitting_net:
        weights = with_fresh_fitting(weights, config, neighbors, log, write=chief)
    before = weights = with_shared_weights(weights, workers)
    checkpoint = None
    if restart is not None:
        checkpoint = load_restart(restart, config, "qnn")
        weights = checkpoint_weights(checkpoint, weights, restart, cnn_dir)
        weights = with_shared_weights(weights, workers)
    start = freeze_model(weights, tables, config)
    check_same(workers, input_document=config.normalized, data=data_facts(systems),
               checkpoint=None if checkpoint is None else checkpoint.step, model=start.digest)
    part = Part(systems, training.batch_size, start, neighbors, training.seed,
                training.auto_prob, training.sys_probs, workers.place, training.mixed_batch)
    validation = None
    if training.validation_systems:
        validation = validation_part(config, start, overflow, log)
    digests = {"training": data_digests(systems), "validation": data_digests(
        [] if validation is None else validation.frames.neighbors.systems)}
    if checkpoint is not None and restart is not None:
        check_data(checkpoint, restart, digests, log, allow=allow_changed_data)
    return QuantizedSetup(
        loop=dataclasses.replace(loop, data=digests),
        tables=tables,
        first_stage=first_stage,
        before=before,
        weights=weights,
        start=start,
        training=part,
        validation=validation,
        checkpoint=checkpoint,
        sel=config.descriptor.sel,
        relative_f=config.loss.relative_f,
        gradient_max_norm=training.gradient_max_norm,
        train_fitting=config.fitting.trainable,
        fixed_layers=tuple(config.fitting.fixed_layers),
        atom_ener=tuple(config.fitting.atom_ener),
        restored=bool(settled(config.switches, "qnn").restore_fitting_net),
        judged=judged_by(config),
        freeze=partial(freeze_model, config=config),
        describe=partial(deepmd_config, config),
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

    `write` is that of `nvnmd.training.statistics_file.training_statistics`.
    """
    statistics = training_statistics(config, neighbors, log, write=write)
    drawn = initial_weights(
        config.descriptor, config.fitting, statistics, config.version, config.sub_version)
    keep = Switches(restore_descriptor=True, restore_fitting_net=False)
    found = restored(drawn, weights, keep)
    return dataclasses.replace(found, min_nbor_dist=weights.min_nbor_dist)


def checkpoint_weights(
    checkpoint: Checkpoint, cnn: FloatWeights, source: Path, folder: Path
) -> FloatWeights:
    """Take the weights of a checkpoint, which must have grown from this continuous stage."""
    weights = FloatWeights.from_file(unprefixed(checkpoint.arrays, "weights"), source)
    theirs, ours = weights.arrays(), cnn.arrays()
    for name, array in ours.items():
        fixed = not name.startswith("fitting.") and name != "tweight"
        if fixed and not np.array_equal(theirs.get(name, np.empty(0)), array):
            raise InputError(
                f"{source}: its {name} is not that of {folder}; continue with the folder of the "
                "continuous stage it began with"
            )
    return weights
