"""The whole fitting net in hardware, against its integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.fitnet_bench import (
    Bench,
    config,
    random_atoms,
    random_net,
    random_types,
)
from support.fitnet_spec import ONE, assert_same
from support.golden_data import load_fixture

from nvnmd.errors import RangeError
from nvnmd.hdl.fitting.integers import compute
from nvnmd.hdl.fitting.schedule import Schedule
from nvnmd.hdl.fitting.weights import fit_image
from nvnmd.hdl.pace import Pace
from nvnmd.hdl.pipeline.loadbus import Section


@pytest.mark.parametrize(("cols", "rows"), [(4, 1), (16, 4)])
def test_shared_net_hardware(cols: int, rows: int) -> None:
    """Version 1: atoms of eight types one after the other through the one net."""
    cfg = config(16, cols, rows, ntypes=8, version=1, hidden=2)
    rng = np.random.default_rng(cols)
    weights, biases = random_net(rng, cfg)
    terms = random_types(rng, cfg, 8)
    image = fit_image(weights, biases, cfg, terms)
    atoms = [(d, n % 8) for n, (d, _) in enumerate(random_atoms(rng, cfg, 9))]
    bench = Bench(cfg)
    found = bench.run(image, atoms, stall_in=0.2, stall_out=0.2)
    assert bench.overflows == 0
    for result, (d, t) in zip(found, atoms, strict=True):
        assert_same(result, compute(image, d, t, cfg))


@pytest.mark.parametrize(
    ("width", "cols", "rows", "more"),
    [
        (16, 4, 1, {}),
        (16, 4, 2, {"ntypes": 4}),
        (16, 16, 1, {"hidden": 2}),
        (16, 8, 8, {"ntypes": 4, "hidden": 1}),
        (8, 8, 8, {"ntypes": 1, "mult_latency": 2}),
        (8, 4, 8, {"mult_latency": 1}),
        (32, 8, 2, {"ntypes": 1}),
        (32, 32, 2, {"ntypes": 1}),
        (16, 4, 1, {"weights_once": True, "ntypes": 4}),
        (16, 16, 1, {"weights_once": True, "hidden": 2}),
        (32, 8, 1, {"weights_once": True, "ntypes": 1}),
        (8, 4, 1, {"weights_once": True, "hidden": 1, "mult_latency": 1}),
    ],
)
def test_atoms_equal_the_integers(width: int, cols: int, rows: int, more: dict) -> None:
    """Back to back, all types, zeros, single units below zero, saturated activations."""
    cfg = config(width, cols, rows, **more)
    rng = np.random.default_rng(width * cols + rows)
    net = random_net(rng, cfg)
    image = fit_image(*net, cfg)
    atoms = [(d, i % cfg.ntypes) for i, (d, _) in enumerate(random_atoms(rng, cfg, 4))]
    atoms[1] = ([0] * width, atoms[1][1])
    atoms[2] = ([-1] * width, atoms[2][1])
    strong = np.clip(rng.normal(0, 10 / width**0.5, width), -7, 7)  # z of about 2
    atoms.append(((strong * ONE).astype(int).tolist(), 0))
    wanted = [compute(image, d, t, cfg) for d, t in atoms]
    assert np.abs(wanted[-1].z[0]).max() > 2 * ONE
    bench = Bench(cfg)
    for found, expected in zip(bench.run(image, atoms), wanted, strict=True):
        assert_same(found, expected)
    assert bench.overflows == 0
    # back to back, unless handing out dE/dD takes longer than the passes
    schedule = bench.dut.schedule
    cycles = schedule.atom_cycles(cfg.hidden)
    spacing = np.diff(bench.energy_cycles)[-2:].tolist()
    if cycles > schedule.steps + schedule.latency + cfg.fit_cols + width:
        assert spacing == [cycles, cycles]
    else:
        assert cfg.hidden == 1 and spacing[0] == spacing[1]


@pytest.mark.parametrize(
    ("width", "cols", "rows", "more"),
    [
        (16, 16, 2, {"fit_atoms": 2, "gradients": 2}),
        (16, 16, 4, {"fit_atoms": 4, "gradients": 4, "hidden": 3}),
        (16, 8, 8, {"fit_atoms": 2, "hidden": 1}),
        (16, 4, 1, {"fit_atoms": 2, "gradients": 2, "version": 1, "ntypes": 4}),
        (16, 16, 4, {"gradients": 2, "hidden": 1}),
        (16, 8, 1, {"fit_atoms": 4, "gradients": 4, "weights_once": True}),
        (32, 4, 1, {"fit_atoms": 2, "version": 1, "ntypes": 4, "weights_once": True}),
    ],
)
def test_atoms_take_turns(width: int, cols: int, rows: int, more: dict) -> None:
    """Several atoms in the array: the same integers, in the atoms' order, at the stated pace."""
    cfg = config(width, cols, rows, **more)
    rng = np.random.default_rng(width * cols + rows)
    image = fit_image(*random_net(rng, cfg), cfg,
                      random_types(rng, cfg, cfg.ntypes) if cfg.version else None)
    atoms = [(d, i % cfg.ntypes) for i, (d, _) in enumerate(random_atoms(rng, cfg, 12))]
    wanted = [compute(image, d, t, cfg) for d, t in atoms]
    bench = Bench(cfg)
    for found, expected in zip(bench.run(image, atoms), wanted, strict=True):
        assert_same(found, expected)
    assert bench.overflows == 0
    # the passes, the memory of dE/dD, or one word of D per cycle; the last atoms have the array for
    # themselves
    cycles = bench.energy_cycles
    stated = Pace.of(cfg)
    pace = max(stated.descriptor_cycles_per_atom, stated.fitting_cycles_per_atom,
               stated.handover_cycles_per_atom)
    spacing = (cycles[8] - cycles[4]) / 4
    assert pace - 1 < spacing < 1.1 * pace
    found = Bench(cfg).run(image, atoms[:5], stall_in=0.3, stall_out=0.5, seed=7)
    for result, expected in zip(found, wanted, strict=False):
        assert_same(result, expected)


@pytest.mark.parametrize(("stall_in", "stall_out"), [(0.5, 0), (0, 0.97), (0.3, 0.6)])
@pytest.mark.parametrize(("cols", "rows"), [(4, 1), (16, 4)])
def test_stalls_change_nothing(cols: int, rows: int, stall_in: float, stall_out: float) -> None:
    cfg = config(16, cols, rows)
    rng = np.random.default_rng(11)
    image = fit_image(*random_net(rng, cfg), cfg)
    atoms = random_atoms(rng, cfg, 5)
    found = Bench(cfg).run(image, atoms, stall_in=stall_in, stall_out=stall_out, seed=5)
    for result, (d, t) in zip(found, atoms, strict=True):
        assert_same(result, compute(image, d, t, cfg))


@pytest.mark.parametrize(
    "what", ["z", "activation", "energy", "last weight", "gradient", "dE/dD", None])
def test_overflow_is_reported(what: str | None) -> None:
    """Just inside a format nothing is reported; each way out of it is."""
    cfg = config(16, 4, ntypes=1, energy_bits=26)
    if what == "activation":
        # skips add at most 1 per layer: only a narrower format is too small for them
        cfg = replace(cfg, data_bits=26, hidden=5)
    layers = cfg.hidden
    weights = [np.zeros((1, 16, n)) for n in [16] * layers + [1]]
    biases = [np.zeros((1, n)) for n in [16] * layers + [1]]
    limit = 1 << (cfg.data_bits - 1)
    d = [0] * 16
    d[3] = limit - 1
    weights[0][0, 3, 2] = 0.9999
    if what == "z":
        weights[0][0, 3, 2] = 1.001
    elif what == "activation":
        for bias in biases[1:layers]:
            bias[0, 2] = 3.0
    elif what == "energy":
        weights[-1][0, 2, 0] = 2.0
        biases[-1][0, 0] = 2.1
    elif what == "last weight":
        weights[-1][0, 5, 0] = 8.0
    elif what == "gradient":
        weights[-1][0, 5, 0] = 7.9
        weights[-2][0, 4, 5] = 1.5
    elif what == "dE/dD":
        weights[-1][0, 5, 0] = 7.9
        weights[0][0, 4, 5] = -32.5
    else:
        # dE/dD has a wider format than what the multipliers take
        weights[-1][0, 5, 0] = 7.9
        weights[0][0, 4, 5] = -32.3
    image = fit_image(weights, biases, cfg)
    if what is None:
        wanted = compute(image, d, 0, cfg)
        assert 0.9998 * limit < wanted.z[0, 2] < limit
        assert -256 < wanted.dd[4] / 2**cfg.fix_frac < -255
    else:
        with pytest.raises(RangeError, match=what):
            compute(image, d, 0, cfg)
    bench = Bench(cfg)
    found, = bench.run(image, [(d, 0)])
    assert (bench.overflows > 0) == (what is not None)
    if what is None:
        assert_same(found, wanted)


def test_fault_changes_the_last_bit_of_z() -> None:
    cfg = config(16, 8, 2, ntypes=1)
    rng = np.random.default_rng(2)
    image = fit_image(*random_net(rng, cfg), cfg)
    (d, _), = random_atoms(rng, cfg, 1)

    async def turn_on(bench: Bench, ctx) -> None:
        ctx.set(bench.dut.fault, 1)

    found, = Bench(cfg).run(image, [(d, 0)], before=turn_on)
    wanted = compute(image, d, 0, cfg)
    np.testing.assert_array_equal(found.z[0], wanted.z[0] ^ 1)
    assert found.energy != wanted.energy and np.any(found.dd != wanted.dd)


@pytest.mark.parametrize("cycles", [1, 9, 40, 100, 200])
def test_reset_in_the_middle(cycles: int) -> None:
    """A reset within a load, an atom or its results; the same model again, then only new atoms."""
    cfg = config(16, 8, 2, ntypes=1)
    rng = np.random.default_rng(cycles)
    image = fit_image(*random_net(rng, cfg), cfg)
    atoms = random_atoms(rng, cfg, 2)

    async def disturb(bench: Bench, ctx) -> None:
        await bench.send(ctx, random_atoms(rng, cfg, 2), lambda: False, beats=20)
        await ctx.tick().repeat(cycles)
        ctx.set(bench.reset, 1)
        await ctx.tick()
        ctx.set(bench.reset, 0)
        half = {Section.FIT_FORWARD: image[Section.FIT_FORWARD][:3] + 1}
        await bench.load(ctx, half)
        ctx.set(bench.reset, 1)
        await ctx.tick()
        ctx.set(bench.reset, 0)
        await bench.load(ctx, image)

    for found, (d, t) in zip(
            Bench(cfg).run(image, atoms, before=disturb), atoms, strict=True):
        assert_same(found, compute(image, d, t, cfg))


@pytest.mark.parametrize(("cols", "rows"), [(32, 8), (32, 1), (128, 8)])
def test_schedule_of_the_full_width(cols: int, rows: int) -> None:
    cfg = config(128, cols, rows)
    schedule = Schedule.best(cfg)
    macs = cols * rows
    assert schedule.steps == 128 * 128 // macs
    assert schedule.atom_cycles(3) == 98304 // macs + 5 * schedule.gap
    assert schedule.gap <= 30


@pytest.mark.slow
def test_full_width_atom() -> None:
    """One atom of 128-wide layers and trained weights."""
    run = load_fixture(128)
    cfg = config(128, 16, 1, ntypes=1)
    model, frame = run.model, run.frames[0]
    t = int(frame.types[np.argsort(frame.types, kind="stable")[0]])
    image = fit_image([w[t:t + 1] for w in model.fit_weights],
                      [b[t:t + 1] for b in model.fit_biases], cfg)
    d = np.round(frame.slots["descriptor"][0] * ONE).astype(int).tolist()
    assert_same(Bench(cfg).run(image, [(d, 0)])[0], compute(image, d, 0, cfg))
