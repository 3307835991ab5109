"""Small random models of version 1, in which the types share one parameter set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from support.small_models import random_weights

from nvnmd.mapping.build import build_tables
from nvnmd.quantize.model import Model, to_flt_table

NAMES = tuple(f"T{i}" for i in range(32))


def random_type_model(
    rng: np.random.Generator, ntypes: int, *, nnei: int = 24, m1: int = 8, axis: int = 2,
    width: int = 16, hidden: int = 2, rcut: float = 4.0,
) -> Model:
    """A model of version 1 of reduced widths, its type gains and vectors drawn at random."""
    shared = random_weights(rng, 1, m1, axis, width, hidden)
    tables = build_tables(
        shared.embedding, np.zeros((1, 2)), np.ones((1, 2)), rcut, 1.0, dmin=1.7
    )
    embedding = ((rng.normal(size=(ntypes, 8)), np.zeros(8)),)
    return Model(
        version=1, type_map=NAMES[:ntypes], sel=(nnei,), max_nnei=128 if nnei <= 128 else 256,
        rcut=rcut, rcut_smth=1.0, axis_neuron=axis, u_layout=tables.u_layout,
        s_layout=replace(tables.s_layout, x0=0.0),
        table_u=to_flt_table(tables.u, "u"), table_u_grad=to_flt_table(tables.u_grad, "u'"),
        table_g=to_flt_table(tables.g, "G"), table_g_grad=to_flt_table(tables.g_grad, "G'"),
        fit_weights=shared.fit_weights, fit_biases=shared.fit_biases,
        t_bias_atom_e=rng.normal(size=ntypes), davg=np.zeros((ntypes, 2)),
        dstd=rng.uniform(0.1, 0.3, (ntypes, 2)), embedding=shared.embedding,
        inv_std=to_flt_table(rng.uniform(1.0, 4.0, (ntypes, 2)), "deviation"),
        type_gain=to_flt_table(rng.normal(1.0, 0.4, (ntypes, ntypes, m1)), "gain"),
        t_ebd=rng.normal(size=(ntypes, 8)), tweight=0.2 * rng.normal(size=(8, width)),
        type_embedding=embedding, type_net=((rng.normal(size=(16, m1)), np.zeros(m1)),),
    )
