"""Statistics of the training data that the model is scaled and shifted with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvnmd.data.frame_pairs import NeighborCache
from nvnmd.data.systems import System
from nvnmd.errors import InputError
from nvnmd.inputs.loss_terms import COEFFICIENT
from nvnmd.network.math import NumpyMath
from nvnmd.network.nets import switch

# A deviation below this is replaced by it, so that nothing is divided by almost nothing.
PROTECTION = 1e-2
# Bins of sw/r, width 2**-7 1/Å: to 4 1/Å, beyond which no two atoms come
RADIAL_BINS, RADIAL_WIDTH = 512, 2.0**-7
# How many values stand for the distribution of s
SAMPLES = 512


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Statistics of the training data.

    Attributes
    ----------
    davg, dstd : (ntypes, 2) float64
        Mean and deviation of the radial column sw/r and of the angular columns (1/Å) per centre
        type, over all slots, empty ones counted as 0. The angular mean is 0; in version 1 so is
        the radial one.
    t_bias_atom_e : (ntypes,) float64
        Energy of an atom of each type in eV.
    min_nbor_dist : float
        Smallest distance of two atoms in Å.
    largest_counts : (ntypes,) int64
        Most neighbours of each type that an atom has; in version 1 (1,), of all types together.
    s_sample : (SAMPLES,) float64
        Ascending values of s that stand for those of all filled slots, each for as many; to 1/128
        1/Å of sw/r.
    mean_neighbors : float
        Mean number of neighbours of an atom.
    """

    davg: NDArray[np.float64]
    dstd: NDArray[np.float64]
    t_bias_atom_e: NDArray[np.float64]
    min_nbor_dist: float
    largest_counts: NDArray[np.int64]
    s_sample: NDArray[np.float64]
    mean_neighbors: float


def collect_statistics(
    cache: NeighborCache,
    rcut_smth: float,
    *,
    progress: Callable[[int, int], None] | None = None,
    rcond: float | None = None,
    atom_ener: Sequence[float | None] = (),
    frames: Sequence[NDArray[np.int64]] | None = None,
    protection: float = PROTECTION,
    zero_mean: bool = False,
    shared_mean: bool = False,
) -> Statistics:
    """Go through all frames once.

    Parameters
    ----------
    cache : NeighborCache
        The training data with `sel` and `rcut`.
    rcut_smth : float
        Start of the smoothing in Å.
    progress : callable, optional
        Called with the frames done and the frames in all.
    rcond : float, optional
    atom_ener : sequence of float or None
        See `energy_bias`.
    frames : sequence of int arrays, optional
        Frames of each system that mean and deviation are taken from; all by default. Distance,
        neighbours and energy bias come from all in any case.
    protection : float
        Least deviation.
    zero_mean : bool
        Set the mean to 0 afterwards.
    shared_mean : bool
        Keep it where all types share the slots: SUB_VERSION 2.

    Returns
    -------
    Statistics

    Raises
    ------
    InputError
        No two atoms are within the cut-off.

    Notes
    -----
    As DeePMD-kit does it: the deviation of a type is ``sqrt(<v²> - <v>²)``, for the angular columns
    with x, y and z taken together, at least `protection`; a type without atoms gets ``1/rcut``.
    Version 1 sets the mean to 0 afterwards, SUB_VERSION 2 of it does not.
    """
    ntypes, slots = cache.ntypes, sum(cache.sel)
    count = np.zeros(ntypes)
    total = np.zeros((ntypes, 2))
    squares = np.zeros((ntypes, 2))
    histogram = np.zeros(ntypes * RADIAL_BINS)
    nearest = np.inf
    largest = np.zeros(len(cache.sel), dtype=np.int64)
    total_frames = sum(system.nframes for system in cache.systems)
    done = 0
    for k, system in enumerate(cache.systems):
        types = np.sort(system.types)
        chosen = set(range(system.nframes) if frames is None else frames[k].tolist())
        for frame in range(system.nframes):
            pairs = cache.pairs(k, frame)
            largest = np.maximum(largest, pairs.counts.max(axis=0))
            r = np.sqrt((pairs.rij**2).sum(axis=1))
            nearest = min(nearest, float(r.min(initial=np.inf)))
            if frame in chosen:
                count += np.bincount(types, minlength=ntypes) * slots
                sw, _ = switch(NumpyMath(), r, rcut_smth, cache.rcut)
                radial = sw / r
                angular = (radial / r)[:, None] * pairs.rij
                sums = (radial, angular.sum(axis=1) / 3.0)
                powers = (radial**2, (angular**2).sum(axis=1) / 3.0)
                centre = types[pairs.center]
                for c in range(2):
                    total[:, c] += np.bincount(centre, weights=sums[c], minlength=ntypes)
                    squares[:, c] += np.bincount(centre, weights=powers[c], minlength=ntypes)
                bins = np.minimum((radial / RADIAL_WIDTH).astype(np.int64), RADIAL_BINS - 1)
                histogram += np.bincount(centre * RADIAL_BINS + bins, minlength=len(histogram))
            done += 1
            if progress is not None:
                progress(done, total_frames)
    if not np.isfinite(nearest):
        raise InputError(
            f"training data: no two atoms are within rcut = {cache.rcut:g} Å of each other"
        )
    present = count > 0
    per_slot = np.where(present, count, 1.0)[:, None]
    mean = total / per_slot
    deviation = np.sqrt(np.maximum(squares / per_slot - mean**2, 0.0))
    deviation = np.maximum(deviation, protection)
    deviation[~present] = 1.0 / cache.rcut
    mean[:, 1] = 0.0
    if zero_mean or (cache.shared and not shared_mean):
        mean[:] = 0.0
    return Statistics(
        davg=mean,
        dstd=deviation,
        t_bias_atom_e=energy_bias(cache.systems, ntypes, rcond, atom_ener),
        min_nbor_dist=nearest,
        largest_counts=largest,
        s_sample=_sample(histogram.reshape(ntypes, -1), mean[:, :1], deviation[:, :1]),
        mean_neighbors=float(histogram.sum() * slots / count.sum()),
    )


def _sample(
    histogram: NDArray[np.float64], mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Values (SAMPLES,) of s of equal weight, from a histogram of sw/r per centre type."""
    radial = (np.arange(histogram.shape[1]) + 0.5) * RADIAL_WIDTH
    s = ((radial - mean) / deviation).ravel()
    order = np.argsort(s, kind="stable")
    below = np.cumsum(histogram.ravel()[order])
    wanted = (np.arange(SAMPLES) + 0.5) / SAMPLES * below[-1]
    return s[order[np.searchsorted(below, wanted)]]


def energy_bias(
    systems: Sequence[System], ntypes: int, rcond: float | None = None,
    atom_ener: Sequence[float | None] = (),
) -> NDArray[np.float64]:
    """Return atomic energies (ntypes,) in eV that fit the frames' energies (least squares).

    Least squares over all frames; of several solutions (all frames of one composition) the one of
    smallest norm; 0 for a type that no frame has. Singular values below `rcond` times the largest
    count as 0; by default those below binary64's resolution. An atom counts as its label
    `atom_ener_coeff`, if there is one. Systems without energies are left out. Types with an energy
    in `atom_ener` have this one.
    """
    rows, energies = [np.zeros((1, ntypes))], [np.zeros(1)]
    for system in systems:
        if system.energy is None:
            continue
        coefficients = system.atom_labels.get(COEFFICIENT)
        if coefficients is not None:
            rows.append(coefficients @ np.eye(ntypes)[system.types])
            energies.append(system.energy)
            continue
        counts = np.bincount(system.types, minlength=ntypes)
        # Frames of one system have one composition: their mean with their number as weight
        # gives the same solution as all of them.
        weight = np.sqrt(system.nframes)
        rows.append(counts[None] * weight)
        energies.append(system.energy.mean(keepdims=True) * weight)
    matrix, total = np.concatenate(rows), np.concatenate(energies)
    given = np.array([np.nan if e is None else e for e in atom_ener or [None] * ntypes], float)
    free = np.isnan(given)
    total = total - matrix[:, ~free] @ given[~free]
    given[free] = np.linalg.lstsq(matrix[:, free], total, rcond=rcond)[0] if free.any() else 0.0
    return given
