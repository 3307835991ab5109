"""Octave tables: the row choice, the slope of the stored cubic, and one model in all its forms."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from support.exchange_models import random_run
from support.golden_checks import assert_same_bits
from support.small_models import random_weights, rattled_crystal, small_config
from support.type_models import type_config, type_weights

from nvnmd.deepmd.export import export_deepmd
from nvnmd.deepmd.modelpb import encode_model
from nvnmd.deepmd.tables import tables_from_map, tables_of_weights, tables_to_map
from nvnmd.errors import InputError
from nvnmd.hdl.host.image import build_image
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.inputs import limits
from nvnmd.mapping.build import build_shared_tables
from nvnmd.mapping.freeze import freeze_model
from nvnmd.mapping.table_error import table_errors
from nvnmd.quantize import ops
from nvnmd.quantize.forces import assemble_forces
from nvnmd.quantize.model import Model
from nvnmd.quantize.reference import evaluate_atoms
from nvnmd.quantize.table_layout import LAYOUTS, layout_name, s_layout, u_layout
from nvnmd.quantize.table_lookup import evaluate, evaluate_both, locate
from nvnmd.reports.difference import array_differences
from nvnmd.reports.info import model_facts


def octave_model(rng, version=0, name="octave", **sizes):
    """A frozen model of random weights with octave tables."""
    if version == 0:
        weights, config = random_weights(rng, **sizes), small_config()
    else:
        weights, config = type_weights(rng, 2), type_config(2)
    tables = tables_of_weights(weights, 4.0, 1.0, name=name)
    return freeze_model(weights, tables, replace(config, tables=name)), tables


def test_names_of_layouts():
    assert LAYOUTS == limits.LAYOUTS
    for name in LAYOUTS:
        for reach in (3.0, 6.0, 10.0, 20.0):
            s = s_layout(-0.5, name=name, reach=reach)
            assert layout_name(u_layout(name), s, name == "octave") == name
    assert u_layout("octave").rows == 288 and len(u_layout("octave").segments) == 9
    assert u_layout("octave8").rows == 256 and len(u_layout("octave8").segments) == 8
    for reach, steps in ((4.0, 64), (4.1, 32), (8.0, 32), (8.1, 16), (16.0, 16)):
        layout = s_layout(0.0, name="octave", reach=reach)
        assert layout.rows == 256 and layout.row_ends()[-1] == 256 / steps
    assert s_layout(0.0, name="octave", reach=17.0).row_ends()[-1] == 32.0
    assert layout_name(u_layout("octave"), s_layout(0.0), True) is None


def test_row_is_exponent_and_five_bits():
    """Of an argument from 1/4 on the row is its exponent and its first five mantissa bits."""
    layout = u_layout("octave")
    rng = np.random.default_rng(0)
    edges = layout.row_starts()
    x = np.concatenate([2.0 ** rng.uniform(-2, 6, 3000), edges[edges >= 0.25],
                        np.nextafter(edges[edges > 0.25], 0.0)])
    row, offset = locate(x, layout)
    for value, found, rest in zip(x, row, offset, strict=True):
        mantissa, e = math.frexp(value)
        bits = int((2 * mantissa - 1) * 32)
        assert found == 32 + 32 * (e + 1) + bits
        start = math.ldexp(1 + bits / 32, e - 1)
        assert rest == ops.trunc_flt(np.array([value - start]), 16)[0]
    row, offset = locate(np.array([0.0, 0.1, 64.0, 70.0]), layout)
    assert row.tolist() == [0, 12, 287, 287]
    assert offset[0] == 0.0 and offset[2] == offset[3] == 1.0


def test_slope_is_that_of_the_stored_cubic():
    """Exact rational derivative, but for the cuts of five additions and products."""
    rng = np.random.default_rng(1)
    cubics = ops.trunc_flt(rng.normal(size=(200, 3, 4)))
    row = np.arange(200)
    x = ops.trunc_flt(ops.trunc_flt(rng.uniform(0, 1 / 16, 200)), 16)
    value, slope = evaluate_both(cubics, None, row, x)
    assert_same_bits(value, evaluate(cubics, row, x), "value")
    for i, k in np.ndindex(200, 3):
        a, b, c, _ = (Fraction(v) for v in cubics[i, k])
        t = Fraction(x[i])
        exact = (3 * a * t + 2 * b) * t + c
        size = abs(c) + abs(b) * t + abs(a) * t * t
        assert abs(Fraction(slope[i, k]) - exact) <= 6 * size * Fraction(1, 2**20)


@pytest.mark.parametrize("version", [0, 1])
def test_compiled_is_the_reference(version):
    pytest.importorskip("numba", reason="numba (the extra `fast`) is not installed")
    from nvnmd.quantize.compiled.model import FastModel
    from nvnmd.training.quantized.frames import frame_constants
    from nvnmd.training.quantized.frames_compiled import fast_frame_constants

    rng = np.random.default_rng([version, 5])
    for name in ("octave", "octave8"):
        model, _ = octave_model(rng, version, name)
        for scale in (1.0, 0.75):
            near = rattled_crystal(rng, model, 2)
            rij = near.rij * scale
            trace = evaluate_atoms(model, near.center_types, rij, near.mask, near.neighbor_types)
            energy, deriv = FastModel(model).evaluate(near.center_types, rij, near.mask,
                                                      near.neighbor_types)
            assert_same_bits(energy, trace.atom_energy, "atomic energies")
            assert_same_bits(deriv[near.mask], trace.deriv[near.mask], "derivatives")
            # every exponent of u, its row edges among them, and beyond the table
            far = np.zeros_like(rij)
            edges = np.sqrt(np.concatenate([u_layout(name).row_starts()[::8], [64.0, 80.0]]))
            far[..., 0] = rng.choice(edges, size=far.shape[:2])
            far[0, :, 1] = 1e-3
            quiet = replace(model, table_u=model.table_u * 2.0**-4)
            trace = evaluate_atoms(quiet, near.center_types, far, near.mask, near.neighbor_types)
            energy, deriv = FastModel(quiet).evaluate(near.center_types, far, near.mask,
                                                      near.neighbor_types)
            assert_same_bits(energy, trace.atom_energy, "atomic energies")
            assert_same_bits(deriv[near.mask], trace.deriv[near.mask], "derivatives")
            order = np.argsort(near.center_types, kind="stable")
            index = np.where(near.mask, 0, -1)[order]
            arguments = near.center_types[order], rij[order], index, 8
            slow = frame_constants(model, *arguments)
            fast = fast_frame_constants(FastModel(model), *arguments)
            for part, array in vars(slow).items():
                np.testing.assert_array_equal(getattr(fast, part), array, err_msg=part)


def test_slopes_integrate_to_the_values():
    """Over every row near a bond of 0.75 Å; with a table of its own the vendor's does not."""
    weights = random_weights(np.random.default_rng(3))
    worst = {}
    for name in ("vendor", "octave"):
        model = freeze_model(weights, tables_of_weights(weights, 4.0, 1.0, name=name),
                             small_config())
        layout = model.u_layout
        grad = None if model.table_u_grad is None else model.table_u_grad[0]
        errors = []
        for k in np.flatnonzero((layout.row_starts() >= 0.5) & (layout.row_ends() <= 1.0)):
            start, step = layout.row_starts()[k], layout.row_steps()[k]
            points = start + step * (np.arange(1024) + 0.5) / 1024
            values, slopes = evaluate_both(model.table_u[0], grad, *locate(points, layout))
            change = (values[-1] - values[0]) / (points[-1] - points[0])
            errors.append(np.abs(slopes[1:-1].mean(axis=0) / change - 1.0).max())
        worst[name] = max(errors)
    assert worst["octave"] < 1e-4
    assert worst["octave"] < 0.1 * worst["vendor"]


def test_forces_are_the_gradient_of_the_energy():
    """Differences of the tabulated energy; its own steps need a wide one."""
    rng = np.random.default_rng(3)
    model, _ = octave_model(rng)
    near = rattled_crystal(rng, model, 2)
    step = 1e-2
    for scale in (0.7, 0.95):
        rij = near.rij * scale
        deriv = evaluate_atoms(model, near.center_types, rij, near.mask).deriv
        for axis in range(3):
            moved = []
            for k in (-2, -1, 1, 2):
                other = rij.copy()
                other[:, 0, axis] += k * step
                moved.append(
                    evaluate_atoms(model, near.center_types, other, near.mask).atom_energy)
            slope = (moved[0] - 8 * moved[1] + 8 * moved[2] - moved[3]) / (12 * step)
            found = deriv[:, 0, 0] * 2 * rij[:, 0, axis] + deriv[:, 0, 1 + axis]
            assert np.abs(found)[near.mask[:, 0]].max() > 1e-2
            assert np.abs(found - slope)[near.mask[:, 0]].max() < 1e-4


def test_no_jump_at_row_edges():
    """From the end of a row to the start of the next, values and slopes differ by cuts alone."""
    model, _ = octave_model(np.random.default_rng(2))
    layout = model.u_layout
    edges = layout.row_starts()[40:]
    below = ops.trunc_flt(np.nextafter(edges, 0.0))
    sides = [evaluate_both(model.table_u[0], None, *locate(x, layout)) for x in (below, edges)]
    # what the terms of the cubic, and of its slope, are at the end of their row, and what the last
    # bit of the argument makes of it
    step = layout.row_steps()[39:-1, None]
    a, b, c, d = np.abs(np.moveaxis(model.table_u[0, 39:-1], -1, 0))
    slope, bend = (3 * a * step + 2 * b) * step + c, 6 * a * step + 2 * b
    sizes = (((a * step + b) * step + c) * step + d + slope * edges[:, None],
             slope + bend * edges[:, None])
    for k, size in enumerate(sizes):
        assert np.all(np.abs(sides[0][k] - sides[1][k]) <= 8 * 2.0**-20 * size)
    value, _ = evaluate_both(model.table_u[0], None, *locate(np.zeros(1), layout))
    empty = -model.davg[0, 0] / model.dstd[0, 0]
    assert value[0, 0] == ops.trunc_flt(np.array([empty]))[0] and value[0, 1] == 0.0


def test_descriptor_is_rounded():
    rng = np.random.default_rng(6)
    model, _ = octave_model(rng)
    near = rattled_crystal(rng, model, 2)
    floored = replace(model, round_descriptor=False)
    found = [evaluate_atoms(m, near.center_types, near.rij, near.mask).d for m in (model, floored)]
    steps = (found[0] - found[1]) * 2.0**23
    assert set(np.unique(steps)) == {0.0, 1.0}


def test_file_and_map(tmp_path):
    for version in (0, 1):
        model, tables = octave_model(np.random.default_rng(version), version)
        assert model.own_slopes and model.round_descriptor and model.tables == "octave"
        model.save(tmp_path / "model.nvnmd")
        again = Model.load(tmp_path / "model.nvnmd")
        assert again.digest == model.digest and again.tables == "octave"
        assert again.u_layout.half_open and again.table_g_grad is None
        content = tables_to_map(tables)
        assert "g_grad" not in content
        back = tables_from_map(content)
        assert back.own_slopes and back.u_layout == tables.u_layout and back.name == "octave"
        np.testing.assert_array_equal(back.u, tables.u)
        np.testing.assert_array_equal(back.g, tables.g)
    assert {error.name for error in table_errors(model)} == {
        "s", "h", "ds/du", "dh/du", "G", "dG/ds"}


def test_octave8_keeps_its_derivatives():
    model, tables = octave_model(np.random.default_rng(0), name="octave8")
    assert not model.own_slopes and not model.round_descriptor and not model.u_layout.half_open
    content = tables_to_map(tables)
    assert len(content["cfg_u2s"]) == 8 and "g_grad" in content
    assert tables_from_map(content).name == "octave8"


def test_reports():
    model, _ = octave_model(np.random.default_rng(1))
    facts = model_facts(model)
    assert facts["table_layout"] == "octave" and "table du" not in facts["ranges"]
    vendor = octave_model(np.random.default_rng(1), name="vendor")[0]
    found = dict(array_differences(model, vendor))
    assert found["table_u_grad"].startswith("shapes ()") and found["dstd"] == "0"
    assert "table_u_grad" not in dict(array_differences(model, model))


def test_refused_by_name(tmp_path):
    rng = np.random.default_rng(1)
    model, _ = octave_model(rng)
    with pytest.raises(InputError, match="octave, which DeePMD-kit's operators do not read"):
        export_deepmd(model, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    cfg = AcceleratorConfig(version=0, ntypes=2, m1=8, m2=2, width=16, hidden=2, fold=8,
                            fit_cols=4)
    with pytest.raises(InputError, match="layout octave, the accelerator is built for vendor"):
        build_image(model, cfg)
    octave8, _ = octave_model(rng, name="octave8")
    with pytest.raises(InputError, match="layout octave8, the accelerator has vendor or octave"):
        build_image(octave8, cfg)
    weights = type_weights(rng)
    with pytest.raises(InputError, match=r"nvnmd/tables: got octave, expected vendor"):
        build_shared_tables(weights.embedding[0], weights.type_embedding, weights.type_net,
                            weights.davg, weights.dstd, 4.0, 1.0, 1.7, 2, "octave")


def test_model_pb_refuses():
    model, _ = random_run(0, 128, 1)
    s = s_layout(model.s_layout.x0, name="octave8")
    other = replace(
        model, u_layout=u_layout("octave8"), s_layout=s,
        table_u=model.table_u[:, :256], table_u_grad=model.table_u_grad[:, :256])
    with pytest.raises(InputError, match=r"model\.pb holds the vendor's tables"):
        encode_model(other)


def test_forces_sum_to_zero():
    rng = np.random.default_rng(8)
    model, _ = octave_model(rng)
    near = rattled_crystal(rng, model, 3)
    trace = evaluate_atoms(model, near.center_types, near.rij, near.mask)
    force = assemble_forces(trace.deriv, near.rij, near.index).force
    assert np.abs(force).max() > 1e-3 and np.abs(force.sum(axis=0)).max() < 1e-10
