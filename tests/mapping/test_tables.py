"""The tables against closed forms, finite differences and the reference data."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from nvnmd.errors import InputError
from nvnmd.mapping.build import (
    build_tables,
    build_u_tables,
    distance_clamp,
    effective_distance,
    hermite,
    least_s,
    radial_jet,
)
from nvnmd.mapping.embedding import embedding_jet
from nvnmd.quantize.table_layout import Segment, TableLayout, s_layout, u_layout

EPS = np.finfo(np.float64).eps


def random_net(rng, widths=(1, 8, 16, 32)):
    return tuple(
        (rng.normal(size=(i, o)) / np.sqrt(i + o), rng.normal(size=o)) for i, o in pairwise(widths)
    )


def polynomial(rows, x):
    a, b, c, d = np.moveaxis(rows, -1, 0)
    return ((a * x + b) * x + c) * x + d


@pytest.mark.parametrize("widths", [(1, 8, 16, 32), (1, 5, 5, 7), (1, 2, 4, 4)])
def test_embedding_derivatives(widths):
    rng = np.random.default_rng(0)
    net = random_net(rng, widths)
    s = np.linspace(-1.0, 4.0, 23)
    step = 1e-5
    value, first, second = embedding_jet(s, net)
    above = embedding_jet(s + step, net)
    below = embedding_jet(s - step, net)
    np.testing.assert_allclose((above[0] - below[0]) / (2 * step), first, atol=1e-8)
    np.testing.assert_allclose((above[1] - below[1]) / (2 * step), second, atol=1e-8)
    # The value by the definition, layer by layer.
    x = s[:, None]
    for weight, bias in net:
        y = np.tanh(x @ weight + bias)
        if weight.shape[0] == weight.shape[1]:
            y = y + x
        elif 2 * weight.shape[0] == weight.shape[1]:
            y = y + np.concatenate([x, x], axis=1)
        x = y
    np.testing.assert_array_equal(value, x)


def test_embedding_rejects_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="after width 1"):
        embedding_jet(np.zeros(2), [(np.zeros((2, 3)), np.zeros(3))])


@pytest.mark.parametrize("clamp", [0.5, 0.3, 1.2])
def test_radial_functions(clamp):
    rcut, smth = 6.0, 0.8
    u = np.array([0.01, 0.2, 0.7, 1.9, 9.0, 20.0, 35.9, 36.0, 50.0])
    step = 1e-5
    for jet, above, below in zip(
        radial_jet(u, rcut, smth, clamp),
        radial_jet(u + step, rcut, smth, clamp),
        radial_jet(u - step, rcut, smth, clamp),
        strict=True,
    ):
        np.testing.assert_allclose((above[0] - below[0]) / (2 * step), jet[1], atol=1e-7)
        np.testing.assert_allclose((above[1] - below[1]) / (2 * step), jet[2], atol=1e-6)
    (s, s1, _), (h, h1, _) = radial_jet(u, rcut, smth, clamp)
    assert np.all(s[u >= 36.0] == 0.0) and np.all(h[u >= 36.0] == 0.0)
    below_clamp = u < clamp**2
    assert np.all(s1[below_clamp] == 0.0) and np.all(h1[below_clamp] == 0.0)
    assert np.all(s[below_clamp] == s[below_clamp][0])
    # The clamp's own point follows the function.
    (_, at, _), _ = radial_jet(np.array([0.25]), rcut, 0.5, 0.5)
    assert at[0] == pytest.approx(-0.5 / 0.125)


def test_clamp_and_distance_rules():
    assert distance_clamp(0.51) == 0.5
    assert distance_clamp(0.5) == 0.4
    assert effective_distance(0.9, 2.0, 0.3) == 0.9
    assert effective_distance(1e-6, 2.0, 0.3) == 2.0
    assert effective_distance(0.0, 0.0, 0.3) == 0.3


def test_hermite_meets_values_and_slopes():
    rng = np.random.default_rng(1)
    y0, y1, p0, p1 = rng.normal(size=(4, 6, 3))
    step = np.array([1.0, 0.5, 0.25, 0.125, 2.0, 1.0])
    rows = hermite(y0, y1, p0, p1, step)
    x = step[:, None]
    np.testing.assert_array_equal(polynomial(rows, 0.0), y0)
    np.testing.assert_allclose(polynomial(rows, x), y1, atol=1e-12)
    np.testing.assert_array_equal(rows[..., 2], p0)
    slope = (3 * rows[..., 0] * x + 2 * rows[..., 1]) * x + rows[..., 2]
    np.testing.assert_allclose(slope, p1, atol=1e-12)


def test_layouts():
    assert u_layout().rows == 512
    layout = s_layout(-0.3125)
    assert layout.rows == 512
    assert layout.to_config() == [
        [-0.3125, 0.6875, 0.00390625, 0, 256],
        [-0.3125, 15.6875, 0.0625, 256, 512],
    ]
    assert TableLayout.from_config(layout.to_config()) == layout
    assert TableLayout.from_config(u_layout().to_config()) == u_layout()
    with pytest.raises(ValueError, match="power of two"):
        Segment(0.0, 0.3, 4, 0)
    with pytest.raises(ValueError, match="begin at row 4"):
        TableLayout(0.0, (Segment(0.0, 0.5, 4, 0), Segment(0.0, 1.0, 4, 5)))
    with pytest.raises(ValueError, match="1/256"):
        s_layout(-0.3)
    with pytest.raises(ValueError, match="does not hold"):
        TableLayout.from_config([[0.0, 65.0, 0.125, 0, 512]])


def test_empty_slot_node_and_continuity():
    davg = np.array([[0.3, 0.0], [0.1, 0.0]])
    dstd = np.array([[0.5, 0.2], [0.7, 0.4]])
    layout, values, slopes = build_u_tables(davg, dstd, 6.0, 2.0, 2.5)
    assert values.shape == slopes.shape == (2, 512, 2, 4)
    np.testing.assert_array_equal(values[:, 0, 0, 3], -davg[:, 0] / dstd[:, 0])
    assert np.all(values[:, 0, 1, 3] == 0.0) and np.all(values[:, 0, :, 2] == 0.0)
    assert np.all(slopes[:, 0, :, 2:] == 0.0)
    # Row i ends where row i + 1 begins, in value and slope, from the first row on.
    for table in (values, slopes):
        np.testing.assert_allclose(
            polynomial(table[:, :-1], 0.125), table[:, 1:, :, 3], rtol=0, atol=1e-11
        )
    # Beyond the cut-off only the normalised zero remains.
    beyond = layout.row_starts() >= 36.0
    np.testing.assert_array_equal(
        values[0, beyond, 0, 3], np.full(beyond.sum(), -davg[0, 0] / dstd[0, 0])
    )
    assert np.all(values[:, beyond, 1] == 0.0)
    assert np.all(values[:, beyond][..., :3] == 0.0)


def test_cut_off_beyond_the_table_is_refused():
    with pytest.raises(InputError, match=r"rcut: 8.1 Å is beyond the tables, which end at 8 Å"):
        build_u_tables(np.zeros((1, 2)), np.ones((1, 2)), 8.1, 1.0, 2.0)
    build_u_tables(np.zeros((1, 2)), np.ones((1, 2)), 8.0, 1.0, 2.0)


def test_g_tables_interpolate_the_net():
    rng = np.random.default_rng(2)
    davg = np.array([[0.1, 0.0], [0.02, 0.0]])
    dstd = np.array([[0.25, 0.1], [0.2, 0.1]])
    nets = [random_net(rng) for _ in range(2)]
    tables = build_tables(nets, davg, dstd, 6.0, 0.5, 2.0)
    assert tables.s_layout.x0 == least_s(davg, dstd) == np.floor(-0.4 * 256 - 1) / 256
    assert tables.g.shape == tables.g_grad.shape == (2, 512, 32, 4)
    starts, steps = tables.s_layout.row_starts(), tables.s_layout.row_steps()
    for i, net in enumerate(nets):
        middle = embedding_jet(starts + steps / 2, net)
        x = (steps / 2)[:, None]
        fine = slice(0, 256)
        for table, exact in ((tables.g, middle[0]), (tables.g_grad, middle[1])):
            error = np.abs(polynomial(table[i], x) - exact)
            assert error[fine].max() < 1e-9 and error.max() < 1e-3


@pytest.mark.shared
def test_tables_equal_the_reference_data(shared):
    """Built from the same weights.

    Values and slopes at the nodes agree to 1e-12 of the table's largest. The cubic and quadratic
    coefficients are differences of nearly equal numbers: four terms of at most 3 max|y| (plus
    dx max|y'|), each with an error of about one unit in the last place, are divided by dx^3 and
    dx^2. The bound taken is 16 eps (max|y| + dx max|y'|) / dx^3 and / dx^2.
    """
    folder = shared / "golden" / "v0_ni128_gete" / "nvnmd_cnn"
    load = lambda name: np.load(folder / name, allow_pickle=True)[0]  # noqa: E731
    reference, weight, config = load("map.npy"), load("weight.npy"), load("config.npy")
    dscp = config["dscp"]
    nets = [
        [
            (weight[f"filter_type_all.matrix_{n}_{t}"], weight[f"filter_type_all.bias_{n}_{t}"])
            for n in (1, 2, 3)
        ]
        for t in range(2)
    ]
    tables = build_tables(
        nets,
        weight["descrpt_attr.t_avg"][:, :2],
        weight["descrpt_attr.t_std"][:, :2],
        dscp["rcut"],
        dscp["rcut_smth"],
        effective_distance(
            float(dscp["dmin"]), float(weight["train_attr.min_nbor_dist"]), dscp["rcut_smth"]
        ),
    )
    assert tables.u_layout.to_config() == [list(map(float, c)) for c in reference["cfg_u2s"]]
    assert tables.s_layout.to_config() == [list(map(float, c)) for c in reference["cfg_s2g"]]
    for name, mine in (
        ("s", tables.u[:, :, :1]),
        ("h", tables.u[:, :, 1:]),
        ("s_grad", tables.u_grad[:, :, :1]),
        ("h_grad", tables.u_grad[:, :, 1:]),
        ("g", tables.g),
        ("g_grad", tables.g_grad),
    ):
        theirs = np.array(reference[name]).reshape(mine.shape)
        layout = tables.s_layout if name.startswith("g") else tables.u_layout
        dx = layout.row_steps()[:, None]
        error = np.abs(mine - theirs)
        largest = np.abs(theirs).max(axis=(0, 1, 2))
        assert error[..., 2].max() <= 1e-12 * largest[2], name
        assert error[..., 3].max() <= 1e-12 * largest[3], name
        noise = 16 * EPS * (largest[3] + dx * largest[2])
        assert np.all(error[..., 0] <= noise / dx**3), name
        assert np.all(error[..., 1] <= noise / dx**2), name
