"""Random models of version 1, SUB_VERSION 2, and short and mixed files made of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from support.exchange_models import NAMES, WIDE
from support.type_models import RCUT, RCUT_SMTH, type_config, type_weights

from nvnmd.deepmd.extras import stage_extras
from nvnmd.deepmd.modelpb import encode_model
from nvnmd.deepmd.modelpb_blocks import Geometry
from nvnmd.deepmd.tables import tables_of_weights
from nvnmd.inputs.config import DescriptorConfig, FittingConfig
from nvnmd.mapping.freeze import freeze_model
from nvnmd.network.weights import FloatWeights
from nvnmd.quantize.model import Model
from nvnmd.quantize.table_layout import s_layout


def switched_weights(rng: np.random.Generator, ntypes: int = 3, **sizes: int) -> FloatWeights:
    """Float weights with a mean of s and a trained bias of the type vectors."""
    weights = type_weights(rng, ntypes, **sizes)
    (matrix, bias), = weights.type_embedding
    return replace(
        weights, sub_version=2, type_embedding=((matrix, 0.3 * rng.normal(size=bias.shape)),),
        davg=np.column_stack([rng.uniform(0.02, 0.1, ntypes), np.zeros(ntypes)]),
    )


def switched_model(rng: np.random.Generator, ntypes: int = 3, **sizes: int) -> Model:
    """A frozen model of reduced widths."""
    weights = switched_weights(rng, ntypes, **sizes)
    return freeze_model(weights, tables_of_weights(weights, RCUT, RCUT_SMTH),
                        type_config(ntypes, sub_version=2))


def wide_switched(device: str = "vu9p", sel: int = 128, ntypes: int = 9, seed: int = 5) -> Model:
    """A model of full width with its float stage, as a run folder has it."""
    rng = np.random.default_rng(seed)
    cnn = switched_weights(rng, ntypes, **WIDE)
    config = type_config(
        ntypes, sub_version=2, device=device, type_map=NAMES[:ntypes], max_nnei=256,
        descriptor=DescriptorConfig(sel=(sel,), rcut=6.0, rcut_smth=0.5, neuron=(16, 32)),
        fitting=FittingConfig(neuron=(128, 128, 128)),
    )
    model = freeze_model(cnn, tables_of_weights(cnn, 6.0, 0.5), config,
                         origin={"device": device})
    return replace(model, extras=stage_extras(model, cnn))


def older_file(model: Model, kind: str) -> bytes:
    """A short or a mixed file: SUB_VERSION 1's writer, the tables of SUB_VERSION 2.

    Written from the layouts' description: heights of SUB_VERSION 1 at 128 neighbours, tables of s
    and h alone, inverse deviations alone; in a mixed one the settings begin with x0.
    """
    assert model.inv_std is not None
    plain = replace(
        model, sub_version=1, minus_avg=None, max_nnei=128, table_u=model.table_u[:, :, :2],
        table_u_grad=model.table_u_grad[:, :, :2], s_layout=s_layout(0.0, 0.125),
    )
    data = bytearray(encode_model(plain))
    head = 1 + (2 << 8) + (256 << 16)
    data[:4] = head.to_bytes(4, "little")
    nix = -model.nix_shift & 0xFF
    word = nix
    if kind == "mixed":
        steps = Geometry(1, 256, 2).steps(model.nnei)
        word = round(-256 * model.s_layout.x0) | nix << 9 | steps << 17
    data[512:516] = word.to_bytes(4, "little")
    return bytes(data)


def random_slots(
    rng: np.random.Generator, model: Model, n: int = 40, scale: float = 2.0
) -> tuple[NDArray, ...]:
    """Centre types, displacements, filled slots and neighbour types of `n` atoms."""
    shape = (n, model.nnei)
    return (np.sort(rng.integers(0, model.ntypes, n)), rng.normal(scale=scale, size=(*shape, 3)),
            rng.random(shape) < 0.5, rng.integers(0, model.ntypes, shape))
