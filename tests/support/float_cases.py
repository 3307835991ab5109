"""Small random float models and frames for the tests of the continuous stage."""

from __future__ import annotations

import numpy as np

from nvnmd.network.initial_weights import draw_net
from nvnmd.network.weights import FloatWeights

SEL = (22, 19)
RCUT, RCUT_SMTH = 4.6, 1.5
SETTINGS = {"sel": SEL, "rcut": RCUT, "rcut_smth": RCUT_SMTH}


def random_weights(seed: int = 5, neuron=(4, 8, 16), hidden=(24, 24, 24)) -> FloatWeights:
    """A float model of two types with statistics of ordinary size."""
    rng = np.random.default_rng(seed)
    nets = [draw_net(rng, (4 * neuron[-1], *hidden, 1)) for _ in range(2)]
    return FloatWeights(
        embedding=tuple(draw_net(rng, (1, *neuron)) for _ in range(2)),
        fit_weights=tuple(np.stack([w for w, _ in k]) for k in zip(*nets, strict=True)),
        fit_biases=tuple(np.stack([b for _, b in k]) for k in zip(*nets, strict=True)),
        davg=np.array([[0.09, 0.0], [0.07, 0.0]]),
        dstd=np.array([[0.12, 0.06], [0.10, 0.05]]),
        t_bias_atom_e=np.array([-3.0, -1.0]),
        min_nbor_dist=2.0,
    )


def alloy(seed: int = 2, repeats=(2, 2, 1), spacing: float = 3.1, strain: float = 0.05):
    """Positions, skewed cell and types of a shaken body-centred crystal of two types."""
    rng = np.random.default_rng(seed)
    corners = np.stack(np.meshgrid(*[np.arange(n) for n in repeats], indexing="ij"), -1)
    sites = (corners.reshape(-1, 1, 3) + np.array([[0, 0, 0], [0.5, 0.5, 0.5]])).reshape(-1, 3)
    skew = np.eye(3) + rng.uniform(-strain, strain, (3, 3))
    box = np.diag(np.array(repeats) * spacing) @ skew
    coord = (sites * spacing) @ skew + rng.normal(scale=0.12, size=sites.shape)
    return coord, box, rng.permutation(np.arange(len(sites)) % 2)
