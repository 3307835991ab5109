"""From where on tables follow their functions: what the hardware's status bit too_near tells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.exchange_models import wide_model

from nvnmd.mapping.build import build_u_tables, radial_jet
from nvnmd.quantize.model import to_flt_table
from nvnmd.quantize.table_lookup import evaluate, locate
from nvnmd.quantize.table_start import near_exponent, table_start

RCUT, SMOOTH = 6.0, 0.5


def model_of(dmin, name="vendor"):
    """A model whose tables of u are those of data with this smallest distance."""
    model = wide_model("v0-128")
    layout, values, slopes = build_u_tables(
        np.zeros((model.ntypes, 2)), np.ones((model.ntypes, 2)), RCUT, SMOOTH, dmin, name)
    table_u = to_flt_table(values, "s and h")
    if name == "octave":
        return replace(model, u_layout=layout, table_u=table_u, table_u_grad=None,
                       table_g_grad=None)
    return replace(model, u_layout=layout, table_u=table_u,
                   table_u_grad=to_flt_table(slopes, "slopes"))


@pytest.mark.parametrize(("dmin", "name", "start", "exponent"), [
    (2.0, "vendor", 0.25, 2), (0.51, "vendor", 0.25, 2), (0.48, "vendor", 0.25, 2),
    (0.4, "vendor", 0.125, 3), (2.0, "octave", 0.25, 2), (0.4, "octave", 0.09375, 3)])
def test_where_tables_begin(dmin, name, start, exponent):
    model = model_of(dmin, name)
    assert (table_start(model), near_exponent(model)) == (start, exponent)
    # above it the table is the function, below it is not
    u = np.linspace(start, 4 * start, 40)
    (s, *_), _ = radial_jet(u, RCUT, SMOOTH, 0.01)
    found = evaluate(model.table_u[0], *locate(u, model.u_layout))[..., 0]
    np.testing.assert_allclose(found, s, atol=0.05 * s.max())
    below = np.array([0.25 * start])
    told = evaluate(model.table_u[0], *locate(below, model.u_layout))[0, 0]
    assert abs(told - radial_jet(below, RCUT, SMOOTH, 0.01)[0][0][0]) > 0.1


def test_tables_of_another_making():
    model = wide_model("v0-128")
    moving = np.ones_like(model.table_u_grad)
    assert table_start(replace(model, table_u_grad=moving)) == 0.0
    assert near_exponent(replace(model, table_u_grad=moving)) == 0
