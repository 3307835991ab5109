"""What both trainings share: the loop over steps, checkpoints, the learning curve, the data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nvnmd.atomic_file import atomic_write
from nvnmd.batch_sampler import BatchSampler
from nvnmd.checkpoint import Checkpoint, prefixed, unprefixed
from nvnmd.config import RunConfig
from nvnmd.data import System, load_systems
from nvnmd.errors import InputError, ModelFileError, NvnmdError
from nvnmd.frame_pairs import NeighborCache
from nvnmd.input_stage import settled
from nvnmd.lcurve import LearningCurve
from nvnmd.loss_terms import (
    COLUMNS,
    TERMS,
    active,
    atom_labels,
    check_labels,
    required,
    size_factors,
    with_coefficients,
)
from nvnmd.monitor import monitor_of
from nvnmd.neighbors import Overflow
from nvnmd.progress import InterruptFlag, Log, StepTimer, TrainingProgress
from nvnmd.schedule import LearningRate, prefactors
from nvnmd.weights import FloatWeights
from nvnmd.workers import OneWorker, Workers, rate_factor


class LabelledBatch(Protocol):
    """What the loop asks of a batch."""

    @property
    def natoms(self) -> float:
        """Atoms of one frame, or their mean."""

    @property
    def known(self) -> NDArray[np.float64]:
        """1 or 0, (6,): whether the label of each term exists."""


Batch = TypeVar("Batch", bound=LabelledBatch)
Batch_co = TypeVar("Batch_co", bound=LabelledBatch, covariant=True)
Batch_contra = TypeVar("Batch_contra", bound=LabelledBatch, contravariant=True)


class Part(Protocol[Batch_co]):
    """A part of the data: draws batches, and its sampler's state can be kept."""

    sampler: BatchSampler

    def draw(self) -> Batch_co:
        """Return the next batch."""


class TrainableModel(Protocol[Batch_contra]):
    """A model with its optimizer."""

    @property
    def weights(self) -> FloatWeights:
        """The present weights."""

    @property
    def moments(self) -> dict[str, NDArray[np.float64]]:
        """The optimizer's state."""

    def set_moments(self, moments: dict[str, NDArray[np.float64]]) -> None:
        """Put back what `moments` gave."""

    def squared_errors(self, batch: Batch_contra) -> NDArray[np.float64]:
        """Mean squared errors (6,) of `nvnmd.loss_terms.TERMS`."""

    def step(
        self, batch: Batch_contra, prefactors: NDArray[np.float64], lr: float, step: int
    ) -> None:
        """Do one step of the optimizer."""

    def gradient(self, batch: Batch_contra, prefactors: NDArray[np.float64]) -> Any:
        """Gradient of a batch's loss by all variables in one row."""

    def apply(self, gradient: Any, lr: float, step: int) -> None:
        """Do what is left of `step` once the gradient is known."""


class TrainingLoop(Generic[Batch]):
    """The loop over steps: display, checkpoints, interruption.

    Parameters
    ----------
    kind : str
        ``"cnn"`` or ``"qnn"``; names the command, and the checkpoints are marked with it.
    config : RunConfig
        The run.
    folder : Path
        Where learning curve and checkpoints go.
    model : TrainableModel
        What is trained.
    training, validation : Part
        Where batches come from.
    log : callable
        Takes lines of text.
    workers : Workers, optional
        Those that share the training; only the chief writes.
    """

    def __init__(
        self,
        kind: str,
        config: RunConfig,
        folder: Path,
        model: TrainableModel[Batch],
        training: Part[Batch],
        validation: Part[Batch] | None,
        log: Log,
        workers: Workers | None = None,
    ) -> None:
        self.kind = kind
        self.workers: Workers = OneWorker() if workers is None else workers
        self.config, self.folder, self.model, self.log = config, folder, model, log
        self.training, self.validation = training, validation
        self.rate = LearningRate(
            config.learning_rate, config.training.numb_steps, config.training.warmup_steps)
        self.step = 0
        # Which terms of the loss there are, whatever their prefactor at the moment; their columns
        present = active(config.loss)
        self.columns = tuple(term for term in COLUMNS if present[term])
        self._places = [TERMS.index(term) for term in self.columns]

    def loop(self) -> float:
        """Run the remaining steps; return the mean seconds per step."""
        settings = self.config.training
        names = ("rmse", *(f"rmse_{term}" for term in self.columns))
        curve = None
        # this may fail, too
        monitor = monitor_of(settings, self.folder, self.step, self.chief)
        if self.chief:
            # only now that data and checkpoint are known to fit: before, nothing is touched
            prepare_folder(self.config, self.folder)
            curve = LearningCurve(
                self.folder / Path(settings.disp_file).name,
                names,
                validation=self.validation is not None,
                continue_from=self.step or None,
            )
        count = self.workers.place.count
        factor = rate_factor(self.config.learning_rate.scale_by_worker, count)
        if count > 1:
            self.log(f"{count} workers; the optimizer takes {factor:.4g} times the learning rate")
        whole, timer = StepTimer(self.step), StepTimer(self.step)
        begin, last = self.step, settings.numb_steps
        show = None if self.chief else False
        bar = TrainingProgress(f"train-{self.kind}", last, begin, show=show)
        # what overflows ends as a loss or a weight that is not finite, and that is one message
        quiet = np.errstate(over="ignore", invalid="ignore")
        # Atoms and nets are shared out to threads here. Matrix products of their sizes are slower
        # with threads of their own, which wait for work beside those; and so they give the same
        # bits whatever the number of threads.
        alone = threadpool_limits(1, user_api="blas")
        with InterruptFlag() as flag, bar, monitor, quiet, alone:
            while self.step < last:
                lr = self.rate(self.step)
                factors = self._prefactors()
                monitor.begin(self.step)
                batch = self.training.draw()
                asked = self.workers.step(
                    self.model, batch, self.training.sampler.weight, factors,
                    factor * lr, self.step + 1, flag.raised)
                self.step += 1
                monitor.end(self.step)
                bar.update(self.step)
                if monitor.due(self.step):
                    found = self._errors([batch], self._prefactors())
                    monitor.write("train", self.step, (*names, "lr"), np.append(found, lr))
                shown = self.step == 1 or self.step % settings.disp_freq == 0 or self.step == last
                if curve is not None and settings.disp_training and shown:
                    held_out = self._display(curve, batch, timer)
                    if held_out is not None:
                        monitor.write("test", self.step, names, held_out)
                # several workers stop together, a step after one of them was asked to
                stop = (asked if count > 1 else flag.raised) and self.step < last
                if not self.chief:
                    if stop:
                        raise KeyboardInterrupt(f"interrupted at step {self.step}")
                elif stop or self.step == last or self.step % settings.save_freq == 0:
                    path = self._save()
                    if stop:
                        message = f"interrupted at step {self.step}; to continue: --restart {path}"
                        raise KeyboardInterrupt(message)
        if begin >= last:
            self.log(f"nothing to do: {begin} of {last} steps are finished")
            return 0.0
        seconds = whole.read(last)
        if settings.time_training:
            self.log(f"{last - begin} steps, {seconds:.4f} s per step")
        return seconds

    @property
    def chief(self) -> bool:
        """Whether this process writes files and logs."""
        return self.workers.place.chief

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint.

        Raises
        ------
        InputError
            It was written for other data or other nets.
        """
        try:
            self.model.set_moments(unprefixed(checkpoint.arrays, "adam"))
            self.training.sampler.restore(checkpoint.state["training"])
            if self.validation is not None and checkpoint.state["validation"] is not None:
                self.validation.sampler.restore(checkpoint.state["validation"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"checkpoint: it does not fit this input: {error}") from None
        self.step = checkpoint.step

    def _save(self) -> Path:
        weights = self.model.weights
        arrays = weights.arrays()
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise NvnmdError(
                f"the training diverged before step {self.step}: a weight is not finite; "
                "try a smaller start_lr"
            )
        state: dict[str, Any] = {
            "model": model_settings(self.config, self.kind),
            "training": self.training.sampler.state(),
            "validation": None if self.validation is None else self.validation.sampler.state(),
        }
        checkpoint = Checkpoint(
            kind=self.kind,
            step=self.step,
            state=state,
            arrays=prefixed(arrays, "weights") | prefixed(self.model.moments, "adam"),
        )
        settings = self.config.training
        return checkpoint.save(
            self.folder, Path(settings.save_ckpt).name, keep=settings.max_ckpt_keep
        )

    def _prefactors(self) -> NDArray[np.float64]:
        """Return the prefactors of the next step's loss, (6,)."""
        start = self.config.learning_rate.start_lr
        return prefactors(self.config.loss, self.rate.on_stairs(self.step), start)

    def _display(self, curve: LearningCurve, batch: Batch, timer: StepTimer
                 ) -> NDArray[np.float64] | None:
        """Write a line of the learning curve and of the log; return the validation errors."""
        seconds = timer.read(self.step)
        # The rate that the next step will have, as DeePMD-kit prints it
        lr = self.rate(self.step)
        factors = self._prefactors()
        found = self._errors([batch], factors)
        held_out = None
        if self.validation is not None:
            draws = range(self.config.training.validation_numb_btch)
            held_out = self._errors([self.validation.draw() for _ in draws], factors)
        if not np.isfinite(found[0]):
            raise NvnmdError(
                f"the training diverged at step {self.step}: the loss is not finite; "
                "try a smaller start_lr"
            )
        curve.add(self.step, found, held_out, lr)
        line = f"step {self.step:7d}: rmse {_text(found)}"
        if held_out is not None:
            line += f"  validation {_text(held_out)}"
        line += f"  lr {lr:.1e}"
        if self.config.training.time_training:
            line += f"  {seconds:.4f} s/step"
        self.log(line)
        return held_out

    def _errors(
        self, batches: Sequence[Batch], factors: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the root of the loss and of its terms, averaged with the atoms as weights.

        Batches without a term's label have no part in its mean, which is nan if none has it.
        """
        total, atoms = np.zeros((2, 1 + len(self._places)))
        for batch in batches:
            squares = self.model.squared_errors(batch)
            n = batch.natoms
            loss = np.sum(squares * factors * batch.known * size_factors(n))
            found = np.array([np.sqrt(loss), *(np.sqrt(squares) * size_factors(n))[self._places]])
            known = np.array([True, *(batch.known > 0.0)[self._places]])
            total[known] += n * found[known]
            atoms[known] += n
        return np.divide(total, atoms, out=np.full_like(total, np.nan), where=atoms > 0.0)


def _text(errors: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.3e}" for value in errors)


def prepare_folder(config: RunConfig, folder: Path) -> None:
    """Make the output folder, and write the normalised input to its `train.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "train.json") as file:
        file.write((json.dumps(config.normalized, indent=4) + "\n").encode())


def summary(systems: Sequence[System]) -> str:
    """Return a line that says how much data there is."""
    count = sum(system.part == 0 for system in systems)
    what = f"{count} systems"
    if count < len(systems):
        what += f" of {len(systems)} compositions"
    frames = sum(system.nframes for system in systems)
    return f"{what}, {frames} frames, {sum(s.natoms for s in systems)} atoms"


def data_facts(systems: Sequence[System]) -> list[list[int]]:
    """Return what two workers' data must have in common: frames and atoms of each system."""
    return [[system.nframes, system.natoms] for system in systems]


def load_data(
    config: RunConfig, paths: Sequence[str], overflow: Overflow, set_prefix: str = "set"
) -> tuple[list[System], NeighborCache]:
    """Read the systems of one part of the data."""
    loss = config.loss
    systems = load_systems(paths, config.type_map, require=required(loss), set_prefix=set_prefix,
                           atom_labels=atom_labels(loss))
    check_labels(loss, systems)
    systems = with_coefficients(loss, systems)
    dscp = config.descriptor
    cache = NeighborCache(
        systems, dscp.sel, dscp.rcut, config.type_map, overflow=overflow,
        shared=config.version == 1, exclude=dscp.exclude_types,
    )
    return systems, cache


def warn_dropped(cache: NeighborCache, log: Log) -> None:
    """Say so if neighbours were left out."""
    if cache.dropped:
        log(
            f"warning: {sum(cache.dropped.values())} neighbours beyond sel were dropped in "
            f"{len(cache.dropped)} frames"
        )


def model_settings(config: RunConfig, kind: str) -> dict[str, Any]:
    """Return the settings that a checkpoint's weights depend on."""
    switches = settled(config.switches, kind)
    halves = {"descriptor": switches.quantize_descriptor,
              "fitting_net": switches.quantize_fitting_net}
    excluded = [list(pair) for pair in config.descriptor.exclude_types]
    return {
        **({"exclude_types": excluded} if excluded else {}),
        "quantize": [name for name, on in halves.items() if on],
        "version": config.version,
        "type_map": list(config.type_map),
        "sel": list(config.descriptor.sel),
        "rcut": config.descriptor.rcut,
        "rcut_smth": config.descriptor.rcut_smth,
        "neuron": list(config.descriptor.neuron),
        "axis_neuron": config.descriptor.axis_neuron,
        "fitting neuron": list(config.fitting.neuron),
    }


def _check_settings(checkpoint: Checkpoint, source: Path, config: RunConfig) -> None:
    """Raise InputError if a checkpoint belongs to another model, ModelFileError if to none."""
    theirs, ours = checkpoint.state.get("model", {}), model_settings(config, checkpoint.kind)
    if not isinstance(theirs, dict):
        raise ModelFileError(f"{source}: its settings of the model are no section")
    for key in {**ours, **theirs}:
        found, wanted = theirs.get(key), ours.get(key)
        if found != wanted:
            raise InputError(f"{source}: written with {key} = {found}, the input has {wanted}")


def load_restart(path: Path, config: RunConfig, kind: str) -> Checkpoint:
    """Read a checkpoint of this kind and check that it belongs to this model.

    Raises
    ------
    InputError, ModelFileError
        It does not, or it is damaged.
    """
    checkpoint = Checkpoint.load(path, kind, Path(config.training.save_ckpt).name)
    _check_settings(checkpoint, path, config)
    return checkpoint
