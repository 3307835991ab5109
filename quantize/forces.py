"""From dE/d[u,x,y,z] per neighbour to forces and virial, in DeePMD-kit's order of summation.

The order decides the last bits of a binary64 sum, so it is part of the contract: centres in
ascending order; for each, its own force first, slot by slot and component by component, then its
neighbours'. A subtotal per centre would give other bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvnmd.quantize.ops import FRAC, trunc_flt


@dataclass(frozen=True)
class Forces:
    """Forces (n, 3) in eV/Å, virial (3, 3) and atomic virial (n, 3, 3) in eV."""

    force: NDArray[np.float64]
    virial: NDArray[np.float64]
    atom_virial: NDArray[np.float64]


def assemble_forces(
    deriv: NDArray[np.float64], rij: NDArray[np.float64], index: NDArray[np.integer],
    ghosts: int = 0, frac: int = FRAC,
) -> Forces:
    """Scatter pair derivatives to forces and virial.

    Parameters
    ----------
    deriv : (n, m, 4)
        dE/d[u,x,y,z] of each slot, flt values.
    rij : (n, m, 3)
        Untruncated displacements to the neighbours, in Å.
    index : (n, m)
        The neighbours' atom indices, -1 in empty slots.
    ghosts : int
        Atoms that are neighbours only, numbered from `n` on.
    frac : int
        Fraction bits of flt, to which the hardware's displacements were cut.

    Returns
    -------
    Forces
        In the atom order of `index`, ghosts last. The virial is the sum of pair force times
        untruncated displacement; the atomic virial goes to the neighbour.
    """
    n, m = index.shape
    atoms = n + ghosts
    r = trunc_flt(rij, frac)
    # slope[i, slot, component, axis]: derivative of [u, x, y, z] by the centre's position
    slope = np.zeros((n, m, 4, 3))
    slope[:, :, 0, :] = -2.0 * r
    for axis in range(3):
        slope[:, :, 1 + axis, axis] = -1.0
    real = index >= 0
    deriv = np.where(real[..., None], deriv, 0.0)
    flat = (deriv[..., None] * slope).reshape(n, 4 * m, 3)

    centre = np.broadcast_to(np.arange(n)[:, None, None], (n, m, 4)).reshape(n, -1)
    neighbour = np.repeat(np.where(real, index, 0), 4, axis=1)
    target = np.concatenate([centre, neighbour], axis=1).ravel()
    force = np.empty((atoms, 3))
    for axis in range(3):
        values = np.concatenate([-flat[:, :, axis], flat[:, :, axis]], axis=1).ravel()
        # bincount adds in the order of its input
        force[:, axis] = np.bincount(target, weights=values, minlength=atoms)

    atom_virial = np.empty((atoms, 3, 3))
    virial = np.empty((3, 3))
    where = neighbour.ravel()
    zeros = np.zeros(where.shape, dtype=np.intp)
    for b in range(3):
        # the displacement first, then the slope: the other way rounds differently
        lever = deriv * rij[:, :, None, b]
        for a in range(3):
            values = (lever * slope[..., a]).ravel()
            atom_virial[:, a, b] = np.bincount(where, weights=values, minlength=atoms)
            virial[a, b] = np.bincount(zeros, weights=values, minlength=1)[0]
    return Forces(force, virial, atom_virial)
