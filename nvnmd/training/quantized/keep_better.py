"""Whether a quantized training helped: errors before and after it, and which weights stay.

The stage begins with a network that loses nothing by quantization, so that it can do harm: the
first steps of Adam move every weight alike, and with them all energies. That common shift is taken
back, and the trained weights stay only if they are better on frames with labels, by more than those
frames may differ by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.systems import System
from nvnmd.inputs.config import RunConfig
from nvnmd.inputs.loss_terms import COEFFICIENT, active
from nvnmd.network.vacuum import given_energies
from nvnmd.network.weights import FloatWeights
from nvnmd.progress import Log
from nvnmd.quantize.ops import FIX_FRAC
from nvnmd.training.quantized.batches import QuantizedBatch, QuantizedFrames
from nvnmd.training.workers import Workers

Floats = NDArray[np.float64]

MOST_ATOMS = 1 << 15
"""Frames are compared up to this many atoms in all, some seconds of work; more are a sample."""
LEAST_FRAMES = 16
"""So many frames are compared however large they are, if there are as many."""
LEAST_GAIN = 1e-3
"""A smaller share of an error is no gain."""
CHANCE = 2.0
"""Standard errors of the mean that a gain must exceed."""
_UNITS = {"energy RMSE": "meV/atom", "mean energy error": "meV/atom", "force RMSE": "eV/Å"}


class Prediction(Protocol):
    """Predictions for a batch: energies (f,), atomic energies (f, n), forces (f, n, 3)."""

    @property
    def energy(self) -> Floats:
        """Energies."""

    @property
    def atom_energy(self) -> Floats:
        """Atomic energies."""

    @property
    def force(self) -> Floats:
        """Forces."""


Predict = Callable[[QuantizedBatch], Prediction]


@dataclass(frozen=True)
class FrameErrors:
    """Errors of single frames, those that have the label.

    Attributes
    ----------
    energy : (k,)
        Error per atom in eV.
    force : (l,)
        Sum of the squared errors of all components in (eV/Å)**2.
    components : (l,)
        Their number.
    """

    energy: Floats
    force: Floats
    components: Floats

    @property
    def count(self) -> int:
        """Frames with a label."""
        return max(len(self.energy), len(self.force))

    @property
    def figures(self) -> dict[str, float]:
        """Energy RMSE and size of the mean error in meV/atom, force RMSE in eV/Å."""
        found = {}
        if len(self.energy):
            found["energy RMSE"] = 1e3 * float(np.sqrt(np.mean(self.energy**2)))
            found["mean energy error"] = 1e3 * abs(float(np.mean(self.energy)))
        if len(self.force):
            found["force RMSE"] = float(np.sqrt(self.force.sum() / self.components.sum()))
        return found

    @property
    def squares(self) -> dict[str, Floats]:
        """Squared errors of each frame whose means give the two RMSEs, up to a factor."""
        return {"energy RMSE": self.energy**2, "force RMSE": self.force}

    def text(self) -> str:
        """The figures as the log shows them."""
        found = self.figures
        parts = []
        if "energy RMSE" in found:
            parts.append(f"energy RMSE {found['energy RMSE']:.4f}, "
                         f"mean {1e3 * float(np.mean(self.energy)):+.4f} meV/atom")
        if "force RMSE" in found:
            parts.append(f"force RMSE {found['force RMSE']:.6f} eV/Å")
        return ", ".join(parts)


@dataclass(frozen=True)
class Judged:
    """The figures that decide whether a training helped.

    Attributes
    ----------
    energy, force : bool
        Whether the loss has terms of energies, and of forces.
    shiftable : bool
        Whether the last bias moves every energy per atom alike, and may be moved.
    """

    energy: bool
    force: bool
    shiftable: bool


def judged_by(config: RunConfig) -> Judged:
    """Take from a run what decides whether it helped."""
    terms = active(config.loss)
    last = len(config.fitting.neuron)
    shiftable = (last not in config.fitting.fixed_layers
                 and given_energies(config.fitting.atom_ener) is None
                 and not config.loss.enable_atom_ener_coeff)
    return Judged(energy=terms["e"], force=terms["f"] or terms["pf"], shiftable=shiftable)


def better_weights(
    judged: Judged,
    before: FloatWeights,
    trained: FloatWeights,
    predict_with: Callable[[FloatWeights], Predict],
    frames: QuantizedFrames,
    part: str,
    log: Log,
    workers: Workers,
) -> FloatWeights:
    """Return the weights that the quantized stage ends with.

    Parameters
    ----------
    judged : Judged
        What decides.
    before, trained : FloatWeights
        Those of the first stage, and those of the last step on the grid.
    predict_with : callable
        Gives the integer network of some weights.
    frames : QuantizedFrames
        Where the errors are measured.
    part : str
        What these frames are called, "training" or "validation".
    log : callable
        Takes lines of text.
    workers : Workers
        The chief decides, and all return the same.

    Returns
    -------
    FloatWeights
        `before`, or `trained` without the common shift; see `common_shift` and `objection`.
    """
    ours, theirs = before.arrays(), trained.arrays()
    if all(np.array_equal(array, ours[name]) for name, array in theirs.items()):
        return trained
    stay, shift = 1.0, 0.0
    if workers.place.chief:
        old, new = frame_errors([predict_with(before), predict_with(trained)], frames,
                                energy=judged.energy, force=judged.force)
        if not old.figures:
            log("kept: the trained weights; there are no energies or forces to judge them by")
        else:
            log(f"{old.count} {part} frames before: {old.text()}")
            log(f"{new.count} {part} frames after:  {new.text()}")
            if judged.shiftable:
                shift = common_shift(old, new)
            if shift:
                new = replace(new, energy=new.energy - shift)
                log(f"{new.count} {part} frames without the common shift of "
                    f"{1e3 * shift:+.4f} meV/atom: {new.text()}")
            reason = objection(old, new)
            stay = float(not reason)
            log(f"kept: the first stage's weights, because {reason}; --keep-last takes those of "
                "the last step" if reason else "kept: the trained weights")
    stay, shift = workers.from_chief(np.array([stay, shift])).tolist()
    if not stay:
        return before
    # a multiple of the grid's unit, so that every energy moves by it exactly
    return replace(trained, fit_biases=(*trained.fit_biases[:-1], trained.fit_biases[-1] - shift))


def compared_frames(systems: Sequence[System]) -> list[tuple[int, int]]:
    """Choose frames, as pairs of a system and a frame of it.

    All of them up to `MOST_ATOMS` atoms; else a sample, the same in every run.
    """
    pairs = [(k, frame) for k, system in enumerate(systems) for frame in range(system.nframes)]
    drawn = np.random.default_rng(0).permutation(len(pairs)).tolist()
    atoms = np.cumsum([systems[pairs[k][0]].natoms for k in drawn])
    count = max(int(np.searchsorted(atoms, MOST_ATOMS, side="right")), LEAST_FRAMES)
    return sorted(pairs[k] for k in drawn[:count])


def frame_errors(
    models: Sequence[Predict], frames: QuantizedFrames, *, energy: bool, force: bool
) -> list[FrameErrors]:
    """Measure models on the compared frames of a part of the data.

    Parameters
    ----------
    models : sequence of callables
        Each predicts a batch.
    frames : QuantizedFrames
        The part.
    energy, force : bool
        Which errors are asked for.

    Returns
    -------
    list of FrameErrors
        One for each model.
    """
    rows: list[tuple[list[float], list[float]]] = [([], []) for _ in models]
    components = []
    for system, frame in compared_frames(frames.neighbors.systems):
        batch = frames.batch(system, [frame])
        knows_energy, knows_force = energy and batch.known[0] > 0, force and batch.known[1] > 0
        if knows_force:
            components.append(batch.force.size)
        for predict, (energies, forces) in zip(models, rows, strict=True):
            found = predict(batch)
            if knows_energy:
                energies.append(float(_energy(found, batch)[0] - batch.energy[0]) / batch.natoms)
            if knows_force:
                forces.append(float(np.sum((found.force - batch.force) ** 2)))
    sizes = np.array(components, dtype=np.float64)
    return [FrameErrors(np.array(energies), np.array(forces), sizes) for energies, forces in rows]


def _energy(found: Prediction, batch: QuantizedBatch) -> Floats:
    """Energies (f,), weighted sums where the data say so."""
    if COEFFICIENT in batch.atom_labels:
        return (batch.atom_labels[COEFFICIENT] * found.atom_energy).sum(axis=1)
    return found.energy


def common_shift(before: FrameErrors, after: FrameErrors) -> float:
    """Return what is to be taken from every atomic energy, in eV, to have the old mean error again.

    A whole number of the fixed format's units, rounded towards the smaller error. 0 if the mean
    error fell and was more than chance before, so that the shift is what the frames ask for.
    """
    if not len(before.energy):
        return 0.0
    old, new = float(before.energy.mean()), float(after.energy.mean())
    if abs(new) < abs(old) and abs(old) > CHANCE * _standard_error(before.energy):
        return 0.0
    units = (new - old) * 2.0**FIX_FRAC
    return float(np.ceil(units) if old > 0.0 else np.floor(units)) * 2.0**-FIX_FRAC


def objection(before: FrameErrors, after: FrameErrors) -> str:
    """Say why the weights of the start should stay; an empty string if the trained ones should.

    They should if no figure is larger than before, and a root mean square error is smaller by at
    least `LEAST_GAIN` of it and by more than `CHANCE` standard errors, of the frames' own
    differences of squares.
    """
    old, new = before.figures, after.figures
    for name, value in old.items():
        # a number that is none is no improvement either
        if not new[name] <= value:
            return f"the {name} rose from {_both(value, new[name])} {_UNITS[name]}"
    doubtful = ""
    for name, squares in before.squares.items():
        if name in old and new[name] < (1.0 - LEAST_GAIN) * old[name]:
            gain = squares - after.squares[name]
            if gain.mean() > CHANCE * _standard_error(gain):
                return ""
            doubtful = (f"the {name} fell from {_both(old[name], new[name])} {_UNITS[name]} only, "
                        f"which may be chance on {len(gain)} frames")
    return doubtful or f"no error fell by {LEAST_GAIN:.1%}"


def _standard_error(values: Floats) -> float:
    """Standard error of the mean; one value alone has none."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _both(one: float, two: float) -> str:
    """Two numbers with as many digits as tell them apart."""
    for digits in range(5, 18):
        texts = f"{one:.{digits}g}", f"{two:.{digits}g}"
        if texts[0] != texts[1]:
            break
    return f"{texts[0]} to {texts[1]}"
