"""The fitting nets of the float model with what training on forces needs of them.

A loss depends on the energies E and on the forces, which are derivatives of E. With q the gradient
of the loss by dE/d(rij), held fixed, its gradient by the weights is that of

    sum of e E + (change of E where the displacements change by q),

e the gradient by E. So the nets are evaluated together with the change `turn` of their input, and
one reverse pass gives the gradient of both sums. In it the gradient by a change is the one that the
energy's own reverse pass left, whatever the loss.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nvnmd.training.continuous import atom_kernels as kernels

Floats = NDArray[np.float64]
Net = list[tuple[Floats, Floats]]
_NOTHING = np.empty((0, 0))


@dataclass
class FittingPass:
    """Intermediate values of one net's forward pass over some atoms, layer by layer.

    Attributes
    ----------
    ahead : list of (2 a, nin)
        Input of every layer, the last one included, and below it its change.
    back : list of (2 a, nout)
        Gradient by what goes into a hidden layer's activation, and below it dE by the same.
    slopes, curves : lists of (a, nout)
        First and second derivative of the activation.
    outer : list of (a, nout)
        dE by a hidden layer's activation.
    energy : (a,)
        Output.
    gradient : (a, nin)
        dE/dD.
    """

    ahead: list[Floats] = field(default_factory=list)
    back: list[Floats] = field(default_factory=list)
    slopes: list[Floats] = field(default_factory=list)
    curves: list[Floats] = field(default_factory=list)
    outer: list[Floats] = field(default_factory=list)
    energy: Floats = field(default_factory=lambda: np.empty(0))
    gradient: Floats = field(default_factory=lambda: _NOTHING)


def evaluate(net: Net, d: Floats, first: Floats | None = None) -> FittingPass:
    """Energy and dE/dD of atoms of one net.

    Parameters
    ----------
    net : layers (weight, bias)
        Hidden layers and a last linear one with one output.
    d : (a, n)
        Descriptors.
    first : (a, nout), optional
        What else the first layer adds before its activation.
    """
    atoms = len(d)
    found = FittingPass(ahead=[np.empty((2 * atoms, d.shape[1]))])
    found.ahead[0][:atoms] = d
    for k, (weight, bias) in enumerate(net[:-1]):
        x, nout = found.ahead[k][:atoms], weight.shape[1]
        z, slope = x @ weight, np.empty((atoms, nout))
        y = np.empty((2 * atoms, nout))
        skip = _skips(k, weight)
        term = first if k == 0 and first is not None else _NOTHING
        # z is not needed once its activation is known
        kernels.activate(z, bias, term, x if skip else z, skip, y[:atoms], slope)
        found.ahead.append(y)
        found.slopes.append(slope)
        found.curves.append(z)
    weight, bias = net[-1]
    x = found.ahead[-1][:atoms]
    found.energy = x @ weight[:, 0] + bias[0]
    g: Floats = np.empty(x.shape)
    g[:] = weight[:, 0]
    for k in reversed(range(len(net) - 1)):
        weight = net[k][0]
        both = np.empty((2 * atoms, weight.shape[1]))
        np.multiply(g, found.slopes[k], out=both[atoms:])
        found.outer.insert(0, g)
        found.back.insert(0, both)
        back = both[atoms:] @ weight.T
        if _skips(k, weight):
            back += g
        g = back
    found.gradient = g
    return found


def backward(
    net: Net, found: FittingPass, by_energy: Floats, turn: Floats, gradient: Net
) -> tuple[Floats, Floats]:
    """Reverse pass over what `evaluate` found; the weights' gradient goes to `gradient`.

    Parameters
    ----------
    by_energy : (a,)
        Gradient of the loss by the energies.
    turn : (a, n)
        Change of the descriptors.

    Returns
    -------
    by_d : (a, n)
        Gradient by the descriptors.
    by_first : (a, nout)
        Gradient by the first layer before its activation.
    """
    hidden, atoms = len(net) - 1, len(by_energy)
    found.ahead[0][atoms:] = turn
    inner = []
    for k, (weight, _) in enumerate(net[:-1]):
        change = found.ahead[k][atoms:]
        inner.append(change @ weight)
        after = found.ahead[k + 1][atoms:]
        np.multiply(inner[k], found.slopes[k], out=after)
        if _skips(k, weight):
            after += change
    weight = net[-1][0]
    to_weight, to_bias = gradient[-1]
    last = found.ahead[-1]
    to_weight[:, 0] = by_energy @ last[:atoms] + last[atoms:].sum(axis=0)
    to_bias[0] = by_energy.sum()
    bar = by_energy[:, None] * weight[:, 0]
    before = bar
    for k in reversed(range(hidden)):
        weight = net[k][0]
        to_weight, to_bias = gradient[k]
        before = found.back[k][:atoms]
        kernels.reverse(bar, found.slopes[k], found.outer[k], found.curves[k], inner[k], before,
                        to_bias)
        # by values and by changes in one product
        np.matmul(found.ahead[k].T, found.back[k], out=to_weight)
        back = before @ weight.T
        if _skips(k, weight):
            back += bar
        bar = back
    return bar, before


def _skips(k: int, weight: Floats) -> bool:
    """Whether hidden layer k adds its input: not the first, and only at equal widths."""
    return k > 0 and weight.shape[0] == weight.shape[1]
