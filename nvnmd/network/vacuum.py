"""Energies that the input document gives to lone atoms, and the energy bias that yields them.

Where `model/fitting_net/atom_ener` names an energy, the type's bias is that energy less what the
fitting net gives to a descriptor of zeros, in the training and in the model that comes of it. A
lone atom has this descriptor where the mean of the radial values is 0: in version 1, and in
version 0 with `set_davg_zero`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nvnmd.network.math import NumpyMath
from nvnmd.network.nets import fit
from nvnmd.network.types import type_vectors
from nvnmd.network.weights import FloatWeights
from nvnmd.quantize.fitting import fitting_net
from nvnmd.quantize.ops import FIX_FRAC, round_bits

Array = NDArray[np.float64]


def given_energies(atom_ener: Sequence[float | None]) -> Array | None:
    """Return the energies of lone atoms (ntypes,) in eV, nan where the data decide; None if none.
    """
    if all(energy is None for energy in atom_ener):
        return None
    return np.array([np.nan if energy is None else energy for energy in atom_ener])


def vacuum_bias(
    weights: FloatWeights,
    atom_ener: Sequence[float | None],
    *,
    quantized: bool = False,
    vectors: Array | None = None,
) -> Array:
    """Return the energy bias (ntypes,) in eV with which lone atoms have the energies given.

    Parameters
    ----------
    weights : FloatWeights
        Fitting nets, and the bias of the types without a given energy.
    atom_ener : sequence of float or None
        Energies in eV, one per type, None where `weights` decide; empty for none.
    quantized : bool
        Whether the fitting nets compute as the hardware does.
    vectors : (ntypes, 8), optional
        Version 1: the type vectors; by default those of the float model.
    """
    given = given_energies(atom_ener)
    if given is None:
        return weights.t_bias_atom_e
    first = None
    if weights.tweight is not None:
        own = type_vectors(NumpyMath(), weights.type_embedding)
        first = (own if vectors is None else vectors) @ weights.tweight
    net = _quantized_outputs if quantized else _float_outputs
    return np.where(np.isnan(given), weights.t_bias_atom_e, given - net(weights, first))


def _float_outputs(weights: FloatWeights, first: Array | None) -> Array:
    """Outputs of the float fitting nets for zeros, (ntypes,)."""
    layers = list(zip(weights.fit_weights, weights.fit_biases, strict=True))
    width = weights.fit_weights[0].shape[1]
    nets = [[(w[t], b[t]) for w, b in layers] for t in range(len(layers[0][0]))]
    if first is not None:
        return fit(NumpyMath(), nets[0], np.zeros((len(first), width)), first)[0]
    return np.array([fit(NumpyMath(), net, np.zeros((1, width)))[0][0] for net in nets])


def _quantized_outputs(weights: FloatWeights, first: Array | None) -> Array:
    """Outputs of the quantized fitting nets for zeros, (ntypes,)."""
    nets, width, _ = weights.fit_weights[0].shape
    if first is not None:
        term = round_bits(first, FIX_FRAC)
        return fitting_net(
            np.zeros((len(first), width)), [w[0] for w in weights.fit_weights],
            [b[0] for b in weights.fit_biases], type_term=term).out
    biases = [b[:, None, :] for b in weights.fit_biases]
    return fitting_net(np.zeros((nets, 1, width)), list(weights.fit_weights), biases).out[:, 0]
