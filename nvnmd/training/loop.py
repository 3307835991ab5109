"""What both trainings share: the loop over steps, with its checkpoints and learning curve."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nvnmd.atomic_file import atomic_write
from nvnmd.data.sampler import BatchSampler
from nvnmd.errors import InputError, NvnmdError
from nvnmd.inputs.loss_terms import TERMS, size_factors
from nvnmd.network.weights import FloatWeights
from nvnmd.progress import InterruptFlag, Log, StepTimer, TrainingProgress
from nvnmd.training.checkpoint import Checkpoint, prefixed, unprefixed
from nvnmd.training.folder import claimed
from nvnmd.training.lcurve import LearningCurve, log_header
from nvnmd.training.setup import LoopSetup
from nvnmd.training.workers import OneWorker, Workers, rate_factor


class LabelledBatch(Protocol):
    """What a batch must offer to the loop."""

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
        """Mean squared errors (6,) of `nvnmd.inputs.loss_terms.TERMS`."""

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

    A context: from the first step to the end of the block the output folder is this training's.

    Parameters
    ----------
    setup : LoopSetup
        What is to be done.
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
        setup: LoopSetup,
        model: TrainableModel[Batch],
        training: Part[Batch],
        validation: Part[Batch] | None,
        log: Log,
        workers: Workers | None = None,
    ) -> None:
        self.setup, self.model, self.log = setup, model, log
        self.workers: Workers = OneWorker() if workers is None else workers
        self.training, self.validation = training, validation
        self.step = 0
        self._places = [TERMS.index(term) for term in setup.columns]
        self._claim = ExitStack()
        self._headed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self._claim.close()

    def loop(self) -> float:
        """Run the remaining steps; return the mean seconds per step."""
        setup = self.setup
        names = ("rmse", *(f"rmse_{term}" for term in setup.columns))
        curve = None
        # this may fail, too
        monitor = setup.monitor(self.step, self.chief)
        if self.chief:
            # only now that data and checkpoint are known to fit: before, nothing is touched
            self._claim.enter_context(claimed(setup, self.log))
            write_document(setup)
            curve = LearningCurve(
                setup.folder / setup.curve_file,
                names,
                validation=self.validation is not None,
                continue_from=self.step or None,
            )
        count = self.workers.place.count
        factor = rate_factor(setup.scale_by_worker, count)
        if count > 1:
            self.log(f"{count} workers; the optimizer takes {factor:.4g} times the learning rate")
        whole, timer = StepTimer(self.step), StepTimer(self.step)
        begin, last = self.step, setup.steps
        show = None if self.chief else False
        if self.chief and begin < last:
            self.log("compiling: the first step takes longer")
        bar = TrainingProgress(f"train-{setup.kind}", last, begin, show=show)
        # what overflows ends as a loss or a weight that is not finite, and that is one message
        quiet = np.errstate(over="ignore", invalid="ignore")
        # Atoms and nets are shared out to threads here. Matrix products of their sizes are slower
        # with threads of their own, which wait for work beside those; and so they give the same
        # bits whatever the number of threads.
        alone = threadpool_limits(1, user_api="blas")
        with InterruptFlag() as flag, bar, monitor, quiet, alone:
            while self.step < last:
                lr = setup.rate(self.step)
                factors = setup.prefactors(self.step)
                monitor.begin(self.step)
                batch = self.training.draw()
                asked = self.workers.step(
                    self.model, batch, self.training.sampler.weight, factors,
                    factor * lr, self.step + 1, flag.raised)
                self.step += 1
                monitor.end(self.step)
                bar.update(self.step)
                if monitor.due(self.step):
                    found = self._errors([batch], setup.prefactors(self.step))
                    monitor.write("train", self.step, (*names, "lr"), np.append(found, lr))
                shown = self.step == 1 or self.step % setup.show_every == 0 or self.step == last
                if curve is not None and setup.shown and shown:
                    held_out = self._display(curve, batch, timer)
                    if held_out is not None:
                        monitor.write("test", self.step, names, held_out)
                # several workers stop together, a step after one of them was asked to
                stop = (asked if count > 1 else flag.raised) and self.step < last
                if not self.chief:
                    if stop:
                        raise flag.interrupt(f"interrupted at step {self.step}")
                elif stop or self.step == last or self.step % setup.save_every == 0:
                    path = self._save()
                    if stop:
                        message = f"interrupted at step {self.step}; to continue: --restart {path}"
                        raise flag.interrupt(message)
        if begin >= last:
            self.log(f"nothing to do: {begin} of {last} steps are finished")
            return 0.0
        seconds = whole.read(last)
        if setup.timed:
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
            "model": dict(self.setup.model),
            "data": dict(self.setup.data),
            "training": self.training.sampler.state(),
            "validation": None if self.validation is None else self.validation.sampler.state(),
        }
        checkpoint = Checkpoint(
            kind=self.setup.kind,
            step=self.step,
            state=state,
            arrays=prefixed(arrays, "weights") | prefixed(self.model.moments, "adam"),
        )
        setup = self.setup
        return checkpoint.save(setup.folder, setup.checkpoint_name, keep=setup.keep)

    def _display(self, curve: LearningCurve, batch: Batch, timer: StepTimer
                 ) -> NDArray[np.float64] | None:
        """Write a line of the learning curve and of the log; return the validation errors."""
        seconds = timer.read(self.step)
        # The rate that the next step will have, as DeePMD-kit prints it
        lr = self.setup.rate(self.step)
        factors = self.setup.prefactors(self.step)
        found = self._errors([batch], factors)
        held_out = None
        if self.validation is not None:
            draws = range(self.setup.validation_batches)
            held_out = self._errors([self.validation.draw() for _ in draws], factors)
        if not np.isfinite(found[0]):
            raise NvnmdError(
                f"the training diverged at step {self.step}: the loss is not finite; "
                "try a smaller start_lr"
            )
        curve.add(self.step, found, held_out, lr)
        if not self._headed:
            self._headed = True
            for line in log_header(self.setup.columns, validation=held_out is not None):
                self.log(line)
        line = f"step {self.step:7d}: rmse {_text(found)}"
        if held_out is not None:
            line += f"  validation {_text(held_out)}"
        line += f"  lr {lr:.1e}"
        if self.setup.timed:
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
    return " ".join(f"{value:9.3e}" for value in errors)


def write_document(setup: LoopSetup) -> None:
    """Write the normalised input to `train.json` in the output folder."""
    with atomic_write(setup.folder / "train.json") as file:
        file.write((json.dumps(setup.document, indent=4) + "\n").encode())
