"""The fitting nets of the float model with what training on forces needs of them.

A loss depends on the energies E and on the forces, which are derivatives of E. With q the gradient
of the loss by dE/d(rij), held fixed, its gradient by the weights is that of

    sum of e E + (change of E where the displacements change by q),

e the gradient by E. So the nets are evaluated together with the change `turn` of their input, and
one reverse pass gives the gradient of both sums. In it the gradient by a change is the one that the
energy's own reverse pass left (`received`), whatever the loss.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nvnmd.atom_kernels import activate

Floats = NDArray[np.float64]
Net = list[tuple[Floats, Floats]]
_NOTHING = np.empty((0, 0))


@dataclass
class FittingPass:
    """What one net keeps of a forward pass over some atoms, layer by layer.

    Attributes
    ----------
    inputs : list of (a, nin)
        Input of every layer, the last one included.
    slopes, curves : lists of (a, nout)
        First and second derivative of the activation.
    outer, received : lists of (a, nout)
        dE/dy and dE/dz of every hidden layer, y its activation and z what goes into it.
    energy : (a,)
        Output.
    gradient : (a, nin)
        dE/dD.
    """

    inputs: list[Floats] = field(default_factory=list)
    slopes: list[Floats] = field(default_factory=list)
    curves: list[Floats] = field(default_factory=list)
    outer: list[Floats] = field(default_factory=list)
    received: list[Floats] = field(default_factory=list)
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
    found = FittingPass(inputs=[d])
    x = d
    for k, (weight, bias) in enumerate(net[:-1]):
        z = x @ weight
        y, slope = np.empty_like(z), np.empty_like(z)
        skip = _skips(k, weight)
        term = first if k == 0 and first is not None else _NOTHING
        # z is not needed once its activation is known
        activate(z, bias, term, x if skip else y, skip, y, slope, z)
        found.inputs.append(y)
        found.slopes.append(slope)
        found.curves.append(z)
        x = y
    weight, bias = net[-1]
    found.energy = x @ weight[:, 0] + bias[0]
    g: Floats = np.broadcast_to(weight[:, 0], x.shape)
    for k in reversed(range(len(net) - 1)):
        weight = net[k][0]
        through = g * found.slopes[k]
        found.outer.insert(0, g)
        found.received.insert(0, through)
        back = through @ weight.T
        g = back + g if _skips(k, weight) else back
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
    hidden = len(net) - 1
    turns, inner = [turn], []
    for k, (weight, _) in enumerate(net[:-1]):
        before = turns[-1] @ weight
        inner.append(before)
        after = before * found.slopes[k]
        turns.append(after + turns[-1] if _skips(k, weight) else after)
    weight = net[-1][0]
    to_weight, to_bias = gradient[-1]
    to_weight[:, 0] = by_energy @ found.inputs[-1] + turns[-1].sum(axis=0)
    to_bias[0] = by_energy.sum()
    bar = by_energy[:, None] * weight[:, 0]
    before = bar
    for k in reversed(range(hidden)):
        weight = net[k][0]
        to_weight, to_bias = gradient[k]
        before = bar * found.slopes[k] + found.outer[k] * found.curves[k] * inner[k]
        np.matmul(found.inputs[k].T, before, out=to_weight)
        to_weight += turns[k].T @ found.received[k]
        before.sum(axis=0, out=to_bias)
        back = before @ weight.T
        bar = bar + back if _skips(k, weight) else back
    return bar, before


def _skips(k: int, weight: Floats) -> bool:
    """Whether hidden layer k adds its input: not the first, and only at equal widths."""
    return k > 0 and weight.shape[0] == weight.shape[1]
