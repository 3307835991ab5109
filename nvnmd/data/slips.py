"""Units that data may be in by mistake, and what energies tell of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.system import System

KCAL, KJ, HARTREE, RYDBERG = 23.060548, 96.485332, 1 / 27.211386, 1 / 13.605693
BOHR = 0.52917721
ENERGIES = {"kcal/mol": KCAL, "kJ/mol": KJ, "Hartree": HARTREE, "Rydberg": RYDBERG, "meV": 1000.0}
"""The number that stands for 1 eV."""
FORCES = {"kcal/mol/Å": KCAL, "kJ/mol/Å": KJ, "Hartree/Å": HARTREE, "kJ/mol/nm": KJ * 10.0,
          "Hartree/bohr": HARTREE * BOHR, "Rydberg/bohr": RYDBERG * BOHR, "eV/bohr": BOHR,
          "meV/Å": 1000.0}
"""The number that stands for 1 eV/Å."""

APART = 1.0
"""Difference of energies per atom in eV beyond which they are told."""
_USUAL, _DRAWS = 20.0, 200
# stiffness times squared length of a usual bond, in eV
_TYPICAL = 20.0
# Forces of a fitted pair potential: a factor of the energies that one unit could still have
_ONE_UNIT = 5.0
_SMALL, _LARGE = 0.15, 0.6
_CLEAR, _VERY_CLEAR = 0.95, 0.99
_LEAST_STEPS = 3


def unit_of_forces(energy: float) -> str:
    """Say which unit gives a bond this stiffness times squared length (eV)."""
    ratio = energy / _TYPICAL
    if ratio < 1.0:
        return "Hartree/bohr, or gradients of Hartree"
    return "kcal/mol/Å or kJ/mol/Å" if ratio < 3.0 * KJ else "kJ/mol/nm"


def _nearest(ratio: float, units: dict[str, float]) -> str:
    return min(units, key=lambda name: abs(math.log(ratio / units[name])))


def energy_findings(systems: Sequence[System], ntypes: int) -> list[str]:
    """Frames and systems whose energy per atom is not that of the others."""
    known = [system for system in systems if system.energy is not None]
    lines = []
    means = []
    for system in known:
        energies = np.asarray(system.energy) / system.natoms
        middle = float(np.median(energies))
        means.append(middle)
        off = np.abs(energies - middle)
        if len(energies) > 2 and off.max() > max(APART, _USUAL * float(np.median(off))):
            frame = int(np.argmax(off))
            lines.append(
                f"energy: {system.path}: frame {system.number(frame)} has {energies[frame]:.6g} eV "
                f"per atom, the frames' median is {middle:.6g}"
                f"{_ratio(float(energies[frame]), middle, system.natoms)}")
    shares = np.array([np.bincount(system.types, minlength=ntypes) / system.natoms
                       for system in known])
    if len(known) == 2 and np.allclose(shares[0], shares[1]) and abs(means[0] - means[1]) > APART:
        lines.append(f"energy: {known[1].path} has {means[1]:.6g} eV per atom, {known[0].path} of "
                     f"the same composition {means[0]:.6g}"
                     f"{_ratio(means[1], means[0], known[1].natoms)}")
    fitted = _agreed(shares, np.array(means)) if len(known) > 2 else None
    if fitted is None:
        return lines
    for system, mean, expected in zip(known, means, fitted.tolist(), strict=True):
        if abs(mean - expected) > APART:
            lines.append(
                f"energy: {system.path} has {mean:.6g} eV per atom, its composition gives "
                f"{expected:.6g} by the other systems{_ratio(mean, expected, system.natoms)}")
    return lines


def _agreed(shares: NDArray[np.float64], values: NDArray[np.float64]
            ) -> NDArray[np.float64] | None:
    """Values by energies of the types with which most systems agree; None where they do not.

    As many systems as there are types are drawn again and again: one that is far off would bend
    a fit to all.
    """
    count, rank = len(values), int(np.linalg.matrix_rank(shares))
    rng = np.random.default_rng(0)
    best: NDArray[np.bool_] = np.zeros(count, dtype=bool)
    for _ in range(_DRAWS):
        drawn = rng.choice(count, size=rank, replace=False)
        found = np.linalg.lstsq(shares[drawn], values[drawn], rcond=None)[0]
        agree = np.abs(shares @ found - values) < 0.5 * APART
        if np.count_nonzero(agree) > np.count_nonzero(best):
            best = agree
    # `rank` systems agree with whatever energies they are fitted by
    if np.count_nonzero(best) <= max(rank, count // 2):
        return None
    fitted: NDArray[np.float64] = shares @ np.linalg.lstsq(shares[best], values[best],
                                                           rcond=None)[0]
    return fitted


def _ratio(one: float, other: float, natoms: int) -> str:
    """What an energy may be instead of one in eV."""
    if one == 0.0 or other == 0.0:
        return ""
    ratio = one / other
    if abs(ratio + 1.0) < 0.02:
        return ": is its sign right?"
    for name, factor in (*ENERGIES.items(), ("eV per atom", 1.0 / natoms)):
        if ratio > 0.0 and abs(math.log(ratio / factor)) < 0.03:
            return f": is it in {name}? Expected the frame's energy in eV"
    return ": expected energies of one method and one reference"


def path_findings(systems: Sequence[System], blame: str = "") -> list[str]:
    """Energies against the work of the forces, where frames follow each other in small steps.

    Parameters
    ----------
    systems : sequence of System
        The data.
    blame : str
        Which of the two has another unit, "energies" or "forces"; empty where that is open.
    """
    work, change = [], []
    for system in systems:
        if system.energy is None or system.force is None or system.nframes < 2:
            continue
        moved = _steps(system)
        far = np.abs(moved).max(axis=(1, 2))
        mean = 0.5 * (system.force[1:] + system.force[:-1])
        # two equal frames tell nothing
        kept = (far < _LARGE) & (far > 0.0)
        work.append(np.stack([far, -(mean * moved).sum(axis=(1, 2))])[:, kept])
        change.append(np.diff(system.energy)[kept])
    if not work:
        return []
    (far, expected), found = np.concatenate(work, axis=1), np.concatenate(change)
    for most, clear in ((_SMALL, _CLEAR), (_LARGE, _VERY_CLEAR)):
        small = far < most
        if np.count_nonzero(small) < _LEAST_STEPS:
            continue
        x, y = expected[small], found[small]
        if not x.any() or not y.any():
            continue
        agreement = float(x @ y / math.sqrt((x @ x) * (y @ y)))
        if abs(agreement) < clear:
            continue
        slope = float(x @ y / (x @ x))
        return _slope_line(slope, agreement, int(np.count_nonzero(small)), blame)
    return []


def _steps(system: System) -> NDArray[np.float64]:
    """How far atoms move from frame to frame, by the shortest way, (f - 1, n, 3) in Å."""
    moved = np.diff(system.coord, axis=0)
    if system.box is None:
        return moved
    shares = moved @ np.linalg.inv(system.box[1:])
    found: NDArray[np.float64] = (shares - np.round(shares)) @ system.box[1:]
    return found


def factor_findings(factor: float | None, blame: str) -> list[str]:
    """What `nvnmd.data.matched.energy_factor` has to say; `blame` as in `path_findings`."""
    if factor is None or 1.0 / _ONE_UNIT < factor < _ONE_UNIT:
        return []
    told = ("energy and force: a pair potential that follows the forces says that energies change "
            f"{'the other way' if factor < 0.0 else f'{1.0 / factor:.2g} times as much'}")
    return [f"{told}: {_reason(factor, blame)}"]


def _slope_line(slope: float, agreement: float, steps: int, blame: str) -> list[str]:
    if 0.7 < slope < 1.4:
        return []
    return [f"energy and force: over {steps} small steps from frame to frame energies change "
            f"{slope:.4g} times as the forces say (correlation {agreement:.3f}): "
            f"{_reason(slope, blame)}"]


def _reason(slope: float, blame: str) -> str:
    """Which units make energies change so many times as the forces say."""
    if slope < 0.0:
        return "are these gradients? Expected forces, the negative gradient"
    pairs: dict[str, float] = {}
    if blame != "forces":
        pairs |= {f"energies in {name}": factor for name, factor in ENERGIES.items()}
    if blame != "energies":
        pairs |= {f"forces in {name}": 1.0 / factor for name, factor in FORCES.items()}
        pairs["energies in Hartree and forces in Hartree/bohr"] = 1.0 / BOHR
    near = sorted(pairs, key=lambda name: abs(math.log(slope / pairs[name])))
    return f"{near[0]}, or {near[1]}? Expected eV and eV/Å"
