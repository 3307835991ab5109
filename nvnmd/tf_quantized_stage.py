"""What the stages behind a quantized descriptor share: what is trained, on what, and with whom."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nvnmd.checkpoint import Checkpoint, unprefixed
from nvnmd.config import RunConfig, Switches
from nvnmd.data import System
from nvnmd.data_mixed import pools
from nvnmd.errors import InputError
from nvnmd.frame_pairs import NeighborCache
from nvnmd.freeze import freeze_model
from nvnmd.initial_weights import initial_weights
from nvnmd.input_stage import settled
from nvnmd.keep_better import Predict
from nvnmd.mapping.build import Tables
from nvnmd.mapping_files import read_map
from nvnmd.mixed_batches import FrameDraws
from nvnmd.neighbors import Overflow
from nvnmd.progress import Log
from nvnmd.qnn_batches import QuantizedBatch, QuantizedFrames
from nvnmd.quantize.model import Model
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
from nvnmd.weights import FloatWeights
from nvnmd.workers import Place, Workers, check_same, with_shared_seeds, with_shared_weights


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
class QuantizedStage:
    """A stage that is ready to be trained, in one worker.

    Attributes
    ----------
    config : RunConfig
        The run, with the seeds that all workers share.
    out_dir : Path
        Where its files go.
    log : callable
        Takes lines of text.
    workers : Workers
        Those that share the training.
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
    """

    config: RunConfig
    out_dir: Path
    log: Log
    workers: Workers
    tables: Tables
    first_stage: FloatWeights
    before: FloatWeights
    weights: FloatWeights
    start: Model
    training: Part
    validation: Part | None
    checkpoint: Checkpoint | None

    @property
    def chief(self) -> bool:
        """Whether this process writes the files."""
        return self.workers.place.chief

    @property
    def switches(self) -> Switches:
        """What is restored and quantized."""
        return settled(self.config.switches, "qnn")

    @property
    def judges(self) -> tuple[QuantizedFrames, str]:
        """The frames that tell whether the training helped, and what they are called."""
        if self.validation is None:
            return self.training.frames, "training"
        return self.validation.frames, "validation"

    def predict_with(self, weights: FloatWeights) -> Predict:
        """Return the integer network of some fitting nets."""
        return TfQuantizedModel(
            self.start, weights, atom_ener=self.config.fitting.atom_ener).predict

    def train(self, kind: type[TfQuantizedModel]) -> tuple[TfQuantizedModel, int, float]:
        """Do the steps that are left.

        Parameters
        ----------
        kind : type
            Class of the model to train.

        Returns
        -------
        model : TfQuantizedModel
            With the weights of the last step.
        step : int
            Steps finished.
        seconds : float
            Mean wall time of a step in this run.
        """
        config = self.config
        model = kind(self.start, self.weights, relative_f=config.loss.relative_f,
                     gradient_max_norm=config.training.gradient_max_norm,
                     train_fitting=config.fitting.trainable, atom_ener=config.fitting.atom_ener)
        run = TrainingLoop("qnn", config, self.out_dir, model, self.training, self.validation,
                           self.log, self.workers)
        if self.checkpoint is not None:
            run.restore(self.checkpoint)
            self.log(f"continuing at step {self.checkpoint.step}")
        seconds = run.loop()
        warn_dropped(self.training.frames.neighbors, self.log)
        return model, run.step, seconds


def prepare_stage(
    config: RunConfig,
    cnn_dir: Path,
    out_dir: Path,
    restart: Path | None,
    log: Log,
    overflow: Overflow,
    workers: Workers,
) -> QuantizedStage:
    """Read everything and agree with the other workers; nothing is written yet.

    Parameters
    ----------
    config, cnn_dir, out_dir, restart, log, overflow, workers
        See `nvnmd.tf_qnn.train_qnn`.

    Returns
    -------
    QuantizedStage

    Raises
    ------
    InputError, ModelFileError, NeighborOverflowError
        Data, input, the continuous stage's folder or the checkpoint are not usable.
    """
    config, chief = with_shared_seeds(config, workers), workers.place.chief
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
    return QuantizedStage(
        config=config, out_dir=out_dir, log=log, workers=workers, tables=tables,
        first_stage=first_stage, before=before, weights=weights, start=start, training=part,
        validation=validation, checkpoint=checkpoint)


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
