"""Small random models of version 1, their settings and labelled frames."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from support.small_models import small_config

from nvnmd.inputs.config import DescriptorConfig, FittingConfig, RunConfig
from nvnmd.network.model import predict_float
from nvnmd.network.weights import FloatWeights

RCUT, RCUT_SMTH, SEL = 4.0, 1.0, (50,)
SETTINGS = {"sel": SEL, "rcut": RCUT, "rcut_smth": RCUT_SMTH, "axis_neuron": 2}
NAMES = ("Cu", "Au", "Ag", "Ni", *(f"X{k}" for k in range(28)))


def type_weights(rng, ntypes=3, m1=8, axis=2, width=16, hidden=2) -> FloatWeights:
    """Float weights of a small net of version 1."""

    def draw(*shape):
        return rng.normal(size=shape) / np.sqrt(sum(shape[-2:]))

    def net(*widths):
        return tuple((draw(i, o), draw(1, o)[0]) for i, o in pairwise(widths))

    widths = [m1 * axis, *[width] * hidden, 1]
    return FloatWeights(
        embedding=(net(1, m1 // 2, m1),),
        fit_weights=tuple(draw(1, i, o) for i, o in pairwise(widths)),
        fit_biases=tuple(0.1 * draw(1, o) for o in widths[1:]),
        davg=np.zeros((ntypes, 2)),
        dstd=rng.uniform(0.1, 0.2, (ntypes, 2)),
        t_bias_atom_e=rng.normal(size=ntypes),
        min_nbor_dist=1.7,
        tweight=draw(8, width),
        type_embedding=((draw(ntypes, 8), np.zeros(8)),),
        type_net=net(16, m1 // 2, m1),
    )


def type_config(ntypes=3, **changes) -> RunConfig:
    """The settings of `type_weights`."""
    settings = {
        "version": 1,
        "type_map": NAMES[:ntypes],
        "descriptor": DescriptorConfig(
            sel=SEL, rcut=RCUT, rcut_smth=RCUT_SMTH, neuron=(4, 8), axis_neuron=2, seed=1
        ),
        "fitting": FittingConfig(neuron=(16, 16), seed=1),
    }
    return small_config(**(settings | changes))


@dataclass(frozen=True)
class Cell:
    """A frame: positions and cell vectors in Å, types."""

    coord: np.ndarray
    box: np.ndarray
    types: np.ndarray


def rattled(rng, types, spacing=3.0) -> Cell:
    """A rattled simple cubic cell of 2 x 2 x (n/4) atoms of the given types."""
    types = np.asarray(types)
    counts = (2, 2, len(types) // 4)
    grid = np.stack(np.meshgrid(*[np.arange(c) for c in counts], indexing="ij"), -1)
    coord = spacing * grid.reshape(-1, 3) + rng.normal(scale=0.2, size=(len(types), 3))
    return Cell(coord.astype(np.float32).astype(float), np.diag(spacing * np.array(counts)), types)


def write_system(folder: Path, weights: FloatWeights, cells: list[Cell]) -> None:
    """Frames of one composition, labelled by a float model of version 1."""
    (folder / "set.000").mkdir(parents=True)
    (folder / "type.raw").write_text("".join(f"{t}\n" for t in cells[0].types))
    (folder / "type_map.raw").write_text("".join(f"{n}\n" for n in NAMES[: weights.ntypes]))
    found = [predict_float(weights, c.coord, c.box, c.types, **SETTINGS) for c in cells]
    arrays = {
        "coord": [c.coord for c in cells],
        "box": [c.box for c in cells],
        **{key: [getattr(p, key) for p in found] for key in ("energy", "force", "virial")},
    }
    for key, rows in arrays.items():
        np.save(folder / "set.000" / f"{key}.npy", np.array([np.ravel(r) for r in rows]))
