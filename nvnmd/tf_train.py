"""The continuous stage: training the float model, `train-cnn`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.atomic_file import atomic_write
from nvnmd.batches import Batch, BatchSampler, NeighborCache, largest_counts, make_layouts, pack
from nvnmd.checkpoint import Checkpoint, prefixed, unprefixed
from nvnmd.config import RunConfig
from nvnmd.data import System, load_systems
from nvnmd.deepmd_config import deepmd_config, s_range
from nvnmd.deepmd_files import write_dict
from nvnmd.errors import InputError, ModelFileError, NvnmdError
from nvnmd.initial_weights import initial_weights
from nvnmd.lcurve import LearningCurve
from nvnmd.neighbors import Overflow
from nvnmd.progress import InterruptFlag, Log, StepTimer, TrainingProgress
from nvnmd.schedule import LearningRate, prefactors
from nvnmd.statistics import collect_statistics
from nvnmd.tf_model import TfFloatModel
from nvnmd.weights import FloatWeights

# XLA takes some seconds to compile each layout; shorter trainings do not earn them back.
XLA_STEPS = 5000
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
    """A part of the data (training or validation) with its sampler and layouts."""

    def __init__(
        self,
        systems: Sequence[System],
        batch_sizes: Sequence[int],
        cache: NeighborCache,
        slots: NDArray[np.int64],
        seed: int | None,
    ) -> None:
        self.cache = cache
        self.layouts = make_layouts(systems, batch_sizes, slots.tolist())
        self.sampler = BatchSampler([s.nframes for s in systems], batch_sizes, seed)

    def draw(self) -> Batch:
        system, frames = self.sampler.draw()
        return pack(self.cache, system, frames, self.layouts[system])


def train_cnn(
    config: RunConfig,
    out_dir: Path,
    *,
    restart: Path | None = None,
    init_model: Path | None = None,
    log: Log = print,
    overflow: Overflow = "error",
    xla: bool | None = None,
) -> CnnResult:
    """Train the float model and write everything the next stage needs.

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
        Compile with XLA; by default for trainings of at least `XLA_STEPS` steps.

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
    checkpoint = None if restart is None else _load_restart(restart, config)
    out_dir.mkdir(parents=True, exist_ok=True)
    with atomic_write(out_dir / "train.json") as file:
        file.write((json.dumps(config.normalized, indent=4) + "\n").encode())

    training = config.training
    systems, cache = _load_data(config, training.systems, overflow)
    log(f"training data: {_summary(systems)}")
    statistics = collect_statistics(cache, config.descriptor.rcut_smth)
    slots = statistics.largest_counts
    log(
        f"statistics: smallest distance {statistics.min_nbor_dist:.4f} Å, most neighbours per type "
        f"{slots.tolist()} of sel {list(config.descriptor.sel)}"
    )
    _warn_dropped(cache, log)
    valid_systems: list[System] = []
    valid_cache = None
    if training.validation_systems:
        valid_systems, valid_cache = _load_data(config, training.validation_systems, overflow)
        slots = np.maximum(slots, largest_counts(valid_cache))
        log(f"validation data: {_summary(valid_systems)}")
    slots = np.clip(slots, 1, config.descriptor.sel)

    if checkpoint is not None:
        weights = FloatWeights.from_arrays(unprefixed(checkpoint.arrays, "weights"))
    elif init_model is not None:
        weights = _load_initial(init_model, config)
    else:
        weights = initial_weights(config.descriptor, config.fitting, statistics)
    low, high = s_range(weights, config.descriptor.rcut, config.descriptor.rcut_smth)
    if high - low > S_SPAN:
        log(
            f"warning: s spans {high - low:.1f}, but its table {S_SPAN:.0f}; "
            "the data hold very short distances"
        )

    train_part = _Part(systems, training.batch_size, cache, slots, training.seed)
    valid_part = None
    if valid_cache is not None:
        sizes = training.validation_batch_size or (1,) * len(valid_systems)
        valid_part = _Part(valid_systems, sizes, valid_cache, slots, training.seed)
    model = TfFloatModel(
        weights,
        sel=config.descriptor.sel,
        rcut=config.descriptor.rcut,
        rcut_smth=config.descriptor.rcut_smth,
        axis_neuron=config.descriptor.axis_neuron,
        xla=training.numb_steps >= XLA_STEPS if xla is None else xla,
    )
    run = _Training(config, out_dir, model, train_part, valid_part, log)
    if checkpoint is not None:
        run.restore(checkpoint)
        log(f"continuing at step {checkpoint.step}")
    seconds = run.loop()

    weights = model.weights
    weights.save(out_dir / "weights.npz")
    write_dict(out_dir / "weight.npy", weights.to_deepmd(config.descriptor.sel))
    write_dict(out_dir / "config.npy", deepmd_config(config, weights))
    from nvnmd.mapping_files import map_folder

    log(f"tables: {map_folder(out_dir)}")
    return CnnResult(folder=out_dir, step=run.step, weights=weights, seconds_per_step=seconds)


class _Training:
    """The loop over steps: display, checkpoints, interruption."""

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        model: TfFloatModel,
        training: _Part,
        validation: _Part | None,
        log: Log,
    ) -> None:
        self.config, self.folder, self.model, self.log = config, folder, model, log
        self.training, self.validation = training, validation
        self.rate = LearningRate(config.learning_rate, config.training.numb_steps)
        self.step = 0
        # Which terms of the loss there are, whatever their prefactor at the moment
        loss = config.loss
        both = [
            (loss.start_pref_e, loss.limit_pref_e),
            (loss.start_pref_f, loss.limit_pref_f),
            (loss.start_pref_v, loss.limit_pref_v),
        ]
        self.terms = np.array([any(pair) for pair in both])

    def loop(self) -> float:
        """Run the remaining steps; return the mean seconds per step."""
        settings = self.config.training
        names = ("rmse", *np.array(["rmse_e", "rmse_f", "rmse_v"])[self.terms])
        curve = LearningCurve(
            self.folder / Path(settings.disp_file).name,
            names,
            validation=self.validation is not None,
            continue_from=self.step or None,
        )
        whole, timer = StepTimer(self.step), StepTimer(self.step)
        begin, last = self.step, settings.numb_steps
        with InterruptFlag() as flag, TrainingProgress("train-cnn", last, begin) as bar:
            while self.step < last:
                lr = self.rate(self.step)
                factors = prefactors(self.config.loss, lr, self.config.learning_rate.start_lr)
                batch = self.training.draw()
                self.model.step(batch, factors, lr, self.step + 1)
                self.step += 1
                bar.update(self.step)
                shown = self.step == 1 or self.step % settings.disp_freq == 0 or self.step == last
                if settings.disp_training and shown:
                    self._display(curve, batch, timer)
                stop = flag.raised and self.step < last
                if stop or self.step == last or self.step % settings.save_freq == 0:
                    path = self._save()
                    if stop:
                        message = f"interrupted at step {self.step}; to continue: --restart {path}"
                        self.log(message)
                        raise KeyboardInterrupt(message)
        if begin >= last:
            self.log(f"nothing to do: {begin} of {last} steps are finished")
            return 0.0
        seconds = whole.read(last)
        if settings.time_training:
            self.log(f"{last - begin} steps, {seconds:.4f} s per step")
        return seconds

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
            "model": _model_settings(self.config),
            "training": self.training.sampler.state(),
            "validation": None if self.validation is None else self.validation.sampler.state(),
        }
        checkpoint = Checkpoint(
            kind="cnn",
            step=self.step,
            state=state,
            arrays=prefixed(arrays, "weights") | prefixed(self.model.moments, "adam"),
        )
        settings = self.config.training
        return checkpoint.save(
            self.folder, Path(settings.save_ckpt).name, keep=settings.max_ckpt_keep
        )

    def _display(self, curve: LearningCurve, batch: Batch, timer: StepTimer) -> None:
        """Write a line of the learning curve and of the log."""
        seconds = timer.read(self.step)
        # The rate that the next step will have, as DeePMD-kit prints it
        lr = self.rate(self.step)
        factors = prefactors(self.config.loss, lr, self.config.learning_rate.start_lr)
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

    def _errors(
        self, batches: Sequence[Batch], factors: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the root of the loss and of its terms, averaged with the atoms as weights."""
        rows, atoms = [], []
        for batch in batches:
            squares = self.model.squared_errors(batch)
            n = batch.natoms
            loss = np.sum(squares * factors * batch.known * np.array([1.0 / n, 1.0, 1.0 / n]))
            each = np.where(batch.known > 0.0, np.sqrt(squares), np.nan)
            each = each / np.array([n, 1.0, n])
            rows.append([np.sqrt(loss), *each[self.terms]])
            atoms.append(n)
        return np.average(np.array(rows), axis=0, weights=atoms)


def _text(errors: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.3e}" for value in errors)


def _summary(systems: Sequence[System]) -> str:
    frames = sum(system.nframes for system in systems)
    return f"{len(systems)} systems, {frames} frames, {sum(s.natoms for s in systems)} atoms"


def _load_data(
    config: RunConfig, paths: Sequence[str], overflow: Overflow
) -> tuple[list[System], NeighborCache]:
    """Read the systems of one part of the data."""
    loss = config.loss
    require = ["energy"]
    if loss.start_pref_f or loss.limit_pref_f:
        require.append("force")
    systems = load_systems(paths, config.type_map, require=require)
    if (loss.start_pref_v or loss.limit_pref_v) and all(s.virial is None for s in systems):
        raise InputError(
            "loss: start_pref_v or limit_pref_v is not 0, but no system has a virial.npy"
        )
    dscp = config.descriptor
    return systems, NeighborCache(systems, dscp.sel, dscp.rcut, config.type_map, overflow=overflow)


def _warn_dropped(cache: NeighborCache, log: Log) -> None:
    if cache.dropped:
        log(
            f"warning: {sum(cache.dropped.values())} neighbours beyond sel were dropped in "
            f"{len(cache.dropped)} frames"
        )


def _model_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings that a checkpoint's weights depend on."""
    return {
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
    """Raise InputError if a checkpoint belongs to another model."""
    for key, wanted in _model_settings(config).items():
        found = checkpoint.state.get("model", {}).get(key)
        if found != wanted:
            raise InputError(f"{source}: written with {key} = {found}, the input has {wanted}")


def _load_restart(path: Path, config: RunConfig) -> Checkpoint:
    checkpoint = Checkpoint.load(path, "cnn", Path(config.training.save_ckpt).name)
    _check_settings(checkpoint, path, config)
    return checkpoint


def _load_initial(path: Path, config: RunConfig) -> FloatWeights:
    """Read weights from a weight file or a checkpoint."""
    try:
        weights = FloatWeights.load(path)
    except ModelFileError as error:
        if path.is_file() and path.name == "weights.npz":
            raise error
        checkpoint = _load_restart(path, config)
        return FloatWeights.from_arrays(unprefixed(checkpoint.arrays, "weights"))
    widths = tuple(bias.shape[0] for _, bias in weights.embedding[0])
    hidden = tuple(bias.shape[1] for bias in weights.fit_biases[:-1])
    wanted = (config.ntypes, config.descriptor.neuron, config.fitting.neuron)
    if (weights.ntypes, widths, hidden) != wanted:
        raise InputError(
            f"{path}: {weights.ntypes} types and widths {list(widths)}, {list(hidden)}; "
            f"the input has {wanted[0]} types and {list(wanted[1])}, {list(wanted[2])}"
        )
    return weights
