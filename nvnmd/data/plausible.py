"""Whether data are in Å, eV and eV/Å, and forces the downhill direction: what their numbers tell.

Nothing here is proof; each finding is a line for whoever knows the data. What is looked at, and the
bounds, are in docs/check_data.md.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.matched import energy_factor
from nvnmd.data.neighbor_stat import all_neighbors
from nvnmd.data.radii import NONMETALS, sums_of_radii
from nvnmd.data.slips import energy_findings, factor_findings, path_findings, unit_of_forces
from nvnmd.data.system import System

MOST_FRAMES = 200
"""Frames that are looked at, of all systems together; every system has two at least."""
NEAR, FAR = 0.55, 1.4
"""Smallest distance over the sum of covalent radii: data in Å are between."""
NANOMETRE, BOHR = 0.1, 1.8897261
_BONDED = 1.25
_LEAST_BONDS = 20
_CORRELATED, _SIGNIFICANT = 0.3, 4.0
STIFFEST = {False: 200.0, True: 70.0}
"""Largest stiffness of a bond times its squared length in eV: the triple bond of N2 has 173,
neighbours in metals and semiconductors (True) have 4 to 40."""
SOFTEST = 1.0


@dataclass
class _Bonds:
    """Neighbours at the length of a bond: distance and the force that pushes them apart."""

    length: list[NDArray[np.float64]] = field(default_factory=list)
    push: list[NDArray[np.float64]] = field(default_factory=list)


@dataclass
class _Seen:
    """What the frames of all systems show."""

    most: NDArray[np.int64]
    most_in_all: int = 0
    nearest: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    where: dict[tuple[int, int], str] = field(default_factory=dict)
    bonds: dict[tuple[int, int], _Bonds] = field(default_factory=dict)
    crowded: str = ""
    frames: int = 0


def implausible(
    systems: Sequence[System], type_map: Sequence[str], rcut: float, sel: Sequence[int],
    progress: Callable[[int, int], None] | None = None, most_frames: int = MOST_FRAMES,
) -> list[str]:
    """Return a line for each thing that data in Å, eV and eV/Å do not show.

    Parameters
    ----------
    systems : sequence of System
        The data.
    type_map : sequence of str
        Element names; what is no element has no radius and is not judged by it.
    rcut : float
        Cut-off in Å.
    sel : sequence of int
        Slots per type, or one number for all types together.
    progress : callable, optional
        Called with the frames done and the frames in all.
    most_frames : int
        Frames to look at, spread over the systems.

    Raises
    ------
    InputError
        A frame is not usable; system and frame are named.
    """
    ntypes = len(type_map)
    seen = _Seen(np.zeros(ntypes, dtype=np.int64), nearest=np.full((ntypes, ntypes), np.inf))
    chosen = [(system, frame) for system in systems
              for frame in _spread(system.nframes, max(2, most_frames // len(systems)))]
    sums = sums_of_radii(type_map)
    for done, (system, frame) in enumerate(chosen, start=1):
        _look(seen, system, frame, sums, rcut, sel)
        if progress is not None:
            progress(done, len(chosen))
    types = np.unique(np.concatenate([system.types for system in systems]))
    lines = [f"type_map: {name} is in no system" for t, name in enumerate(type_map)
             if t not in types]
    lines += _neighbor_lines(seen, type_map, rcut, sel)
    distances = _distance_line(seen, systems, sums, type_map, rcut)
    lines += distances
    # stiffness is judged at the length of bonds, which there are none of in other units
    judged, forces = (False, []) if distances else _force_lines(seen, type_map)
    factor = None if distances else energy_factor(systems, ntypes, rcut, _spread)
    if factor is not None and factor > 0.0 and any("gradients?" in line for line in forces):
        # energies fall along these forces: whatever the bonds are like, the sign is right
        forces = []
    lines += forces + energy_findings(systems, ntypes)
    blame = "forces" if forces else "energies" if judged else ""
    steps = path_findings(systems, blame)
    if not (steps or distances or forces):
        steps = factor_findings(factor, blame)
    # one reason, one line
    uphill = any("gradients?" in line for line in forces)
    return lines + [line for line in steps if not (uphill and "gradients?" in line)]


def seen_twice(training: Sequence[str], validation: Sequence[str]) -> list[str]:
    """Return a line for systems that are named twice, or for training and for validation.

    Parameters
    ----------
    training, validation : sequence of str
        The systems, as they are named; one place by two names is one system.
    """
    places = [os.path.realpath(name) for name in training]
    lines = []
    twice = [name for k, name in enumerate(training) if places[k] in places[:k]]
    if twice:
        lines.append(f"training_data: {twice[0]} is there twice{_more(twice)}, so its frames count "
                     "twice; numb_copy.npy says that of single frames")
    both = [name for name in validation if os.path.realpath(name) in places]
    if both:
        lines.append(f"validation_data: {both[0]} is in training_data, too{_more(both)}; expected "
                     "frames that the training does not see")
    return lines


def _more(names: Sequence[str]) -> str:
    return f", and {len(names) - 1} more" if len(names) > 1 else ""


def _spread(frames: int, most: int) -> list[int]:
    """Numbers of frames, the first and the last among them."""
    return sorted(set(np.linspace(0, frames - 1, min(frames, most)).astype(int).tolist()))


def _look(seen: _Seen, system: System, frame: int, sums: NDArray[np.float64], rcut: float,
          sel: Sequence[int]) -> None:
    near = all_neighbors(system, frame, len(sums), rcut)
    seen.frames += 1
    counts = near.counts if len(sel) > 1 or len(sums) == 1 else near.counts.sum(axis=1)[:, None]
    if not seen.crowded and np.any(counts > np.asarray(sel)):
        atom, kind = np.argwhere(counts > np.asarray(sel))[0]
        seen.crowded = (f"{system.path}: frame {system.number(frame)}: atom "
                        f"{_number(system, frame, int(near.order[atom]))} has {counts[atom, kind]}")
    seen.most = np.maximum(seen.most, near.counts.max(axis=0))
    seen.most_in_all = max(seen.most_in_all, int(near.counts.sum(axis=1).max()))
    i, slot = np.nonzero(near.mask)
    j = near.index[i, slot].astype(np.int64)
    once = i < j
    i, j, rij = i[once], j[once], near.rij[near.mask][once]
    kinds = np.sort(near.center_types[np.stack([i, j])], axis=0)
    length = np.sqrt((rij**2).sum(axis=1))
    force = None if system.force is None else system.force[frame][near.order]
    for a, b in np.unique(kinds, axis=1).T.tolist():
        pairs = (kinds[0] == a) & (kinds[1] == b)
        least = float(length[pairs].min())
        if least < seen.nearest[a, b]:
            seen.nearest[a, b] = seen.nearest[b, a] = least
            at = int(np.argmin(np.where(pairs, length, np.inf)))
            atoms = [_number(system, frame, int(near.order[k])) for k in (i[at], j[at])]
            seen.where[a, b] = (f"{system.path}: frame {system.number(frame)}: atoms "
                                f"{min(atoms)} and {max(atoms)}")
        bonded = pairs & (length < _BONDED * sums[a, b])
        if force is not None and bonded.any():
            bonds = seen.bonds.setdefault((a, b), _Bonds())
            along = rij[bonded] / length[bonded, None]
            bonds.length.append(length[bonded])
            bonds.push.append(((force[j[bonded]] - force[i[bonded]]) * along).sum(axis=1) / 2.0)


def _number(system: System, frame: int, atom: int) -> int:
    return atom if system.atoms is None else int(system.atoms[frame, atom])


def _neighbor_lines(seen: _Seen, type_map: Sequence[str], rcut: float,
                    sel: Sequence[int]) -> list[str]:
    if not seen.crowded:
        return []
    if len(sel) > 1 or len(type_map) == 1:
        most = ", ".join(f"{count} {name}" for count, name in zip(seen.most.tolist(), type_map,
                                                                  strict=True))
        what = f"of one type within {rcut:g} Å; the most there are: {most}"
    else:
        what = f"within {rcut:g} Å; the most there are: {seen.most_in_all}"
    return [f"sel {list(sel)}: {seen.crowded} neighbours {what}; expected no more than slots, a "
            "larger sel or a smaller rcut"]


def _distance_line(seen: _Seen, systems: Sequence[System], sums: NDArray[np.float64],
                   type_map: Sequence[str], rcut: float) -> list[str]:
    """The pair that is nearest for its elements, if it is too near, or too far for a bond."""
    ratio = seen.nearest / sums
    known = np.isfinite(ratio)
    if not known.any():
        alone = not np.isfinite(seen.nearest).any() and max(s.natoms for s in systems) > 1
        return [f"no two atoms of the data are nearer than {rcut:g} Å: are positions and cell in "
                "another unit? Expected Å"] if alone else []
    ratio[~known] = np.inf
    a, b = sorted(int(k) for k in np.unravel_index(np.argmin(ratio), ratio.shape))
    least = float(ratio[a, b])
    if NEAR <= least <= FAR:
        return []
    name = f"{type_map[a]}-{type_map[b]}"
    told = (f"the nearest {name} pair of the data is {seen.nearest[a, b]:.4g} Å "
            f"({seen.where[a, b]}), covalent radii add up to {sums[a, b]:.2f} Å")
    if least > FAR:
        guess = "bohr" if least / BOHR <= FAR else "another unit"
    elif NEAR <= least / NANOMETRE <= FAR:
        guess = "nm"
    else:
        return [f"{told}, expected no less than {NEAR} times that: is the cell in the unit of the "
                "positions, and the order of the types that of type_map?"]
    return [f"{told}: are positions and cell in {guess}? Expected Å"]


def _force_lines(seen: _Seen, type_map: Sequence[str]) -> tuple[bool, list[str]]:
    """What bonds tell that are stretched and pressed: whether they tell anything, and whether
    forces go uphill, or are in another unit.
    """
    found = []
    for (a, b), bonds in sorted(seen.bonds.items()):
        length, push = np.concatenate(bonds.length), np.concatenate(bonds.push)
        if len(length) < _LEAST_BONDS or np.ptp(length) == 0.0 or np.ptp(push) == 0.0:
            continue
        (spread, both), (_, _) = np.cov(length, push)
        correlation = -float(np.corrcoef(length, push)[0, 1])
        metallic = not {type_map[a], type_map[b]} & NONMETALS
        energy = float(-both / spread * length.mean() ** 2)
        found.append((len(length), correlation, energy, metallic, f"{type_map[a]}-{type_map[b]}"))
    told = [entry for entry in found
            if abs(entry[1]) > max(_CORRELATED, _SIGNIFICANT / math.sqrt(entry[0]))]
    if not told:
        return False, []
    # all pairs have one unit and one sign: the clearest speaks
    _, correlation, energy, metallic, name = max(told, key=lambda entry: abs(entry[1]))
    if correlation < 0.0:
        return True, [f"force: {name} neighbours that are nearer than usual attract each other and "
                      f"those farther repel (correlation {-correlation:.2f}): are these gradients? "
                      "Expected forces, the negative gradient"]
    if SOFTEST <= energy <= STIFFEST[metallic]:
        return True, []
    return True, [f"force: {name} bonds are {'stiffer' if energy > SOFTEST else 'softer'} than any "
                  f"(stiffness times squared length {energy:.3g} eV, expected {SOFTEST:g} to "
                  f"{STIFFEST[metallic]:g}): {unit_of_forces(energy)}? Expected eV/Å"]
