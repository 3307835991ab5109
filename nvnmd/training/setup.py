"""The setup of the loop over steps: one frozen object, made once from the input document.

What a stage has of its own (data, weights, model) is set up in the folder of the stage; each setup
holds one of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nvnmd.inputs.config import RunConfig
from nvnmd.inputs.loss_terms import COLUMNS, active
from nvnmd.training.identity import model_settings
from nvnmd.training.monitor import Monitor, monitor_of
from nvnmd.training.schedule import LearningRate, LossSchedule


@dataclass(frozen=True, kw_only=True)
class LoopSetup:
    """All that the loop needs to know about a run.

    Attributes
    ----------
    kind : str
        ``"cnn"`` or ``"qnn"``; names the command, and the checkpoints are marked with it.
    folder : Path
        Where learning curve and checkpoints go.
    document : mapping
        The normalised input document, for `train.json`.
    steps : int
        Steps of the whole training.
    rate : LearningRate
        Learning rate by step.
    prefactors : LossSchedule
        Prefactors of the loss's terms by step.
    columns : tuple of str
        The terms of the loss that there are, whatever their prefactor at the moment, in the order
        of the learning curve's columns.
    scale_by_worker : str
        How the learning rate grows with the number of workers.
    curve_file : str
        Name of the learning curve.
    shown : bool
        Whether there is one.
    show_every : int
        Steps between two lines of it.
    timed : bool
        Whether the log tells the time of a step.
    validation_batches : int
        Batches of the validation set behind each line.
    checkpoint_name : str
        What the names of checkpoints begin with.
    save_every : int
        Steps between two checkpoints.
    keep : int
        Checkpoints that stay; 0 for all.
    model : mapping
        The settings that a checkpoint's weights depend on.
    data : mapping of str to list
        What the checkpoint keeps of the data, by part; see `nvnmd.training.identity.data_digests`.
    replaces : bool
        Whether an earlier training in the folder is replaced.
    continues_here : bool
        Whether the checkpoint that the run continues is in the folder.
    monitor : callable
        Makes what watches the training, of the steps finished before and whether this process
        writes files.
    """

    kind: str
    folder: Path
    document: Mapping[str, Any]
    steps: int
    rate: LearningRate
    prefactors: LossSchedule
    columns: tuple[str, ...]
    scale_by_worker: str
    curve_file: str
    shown: bool
    show_every: int
    timed: bool
    validation_batches: int
    checkpoint_name: str
    save_every: int
    keep: int
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    replaces: bool
    continues_here: bool
    monitor: Callable[[int, bool], Monitor]

    @property
    def newest(self) -> Path:
        """The argument of `--restart` that means the newest checkpoint."""
        return self.folder / self.checkpoint_name


def loop_setup(kind: str, config: RunConfig, folder: Path, *, restart: Path | None = None,
               force: bool = False) -> LoopSetup:
    """Return the loop's settings of a run; `data` stays empty, since it is not read yet.

    Parameters
    ----------
    kind, config, folder
        See `LoopSetup`; the run.
    restart : Path, optional
        The checkpoint to continue.
    force : bool
        Whether an earlier training in the folder is replaced.
    """
    settings = config.training
    rate = LearningRate(config.learning_rate, settings.numb_steps, settings.warmup_steps)
    present = active(config.loss)
    return LoopSetup(
        kind=kind,
        folder=folder,
        document=config.normalized,
        steps=settings.numb_steps,
        rate=rate,
        prefactors=LossSchedule(config.loss, rate),
        columns=tuple(term for term in COLUMNS if present[term]),
        scale_by_worker=config.learning_rate.scale_by_worker,
        curve_file=Path(settings.disp_file).name,
        shown=settings.disp_training,
        show_every=settings.disp_freq,
        timed=settings.time_training,
        validation_batches=settings.validation_numb_btch,
        checkpoint_name=Path(settings.save_ckpt).name,
        save_every=settings.save_freq,
        keep=settings.max_ckpt_keep,
        model=model_settings(config, kind),
        data={},
        replaces=force,
        continues_here=restart is not None and restart.parent.resolve() == folder.resolve(),
        monitor=partial(monitor_of, settings, folder),
    )
