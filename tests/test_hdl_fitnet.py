"""The fitting net: memories, activation, array and the whole, against integers and the spec."""

from __future__ import annotations

import gc
import itertools
import random
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal, UnusedElaboratable
from amaranth.sim import Simulator
from golden_data import load_fixture, load_folder

from nvnmd.errors import InputError, RangeError
from nvnmd.hdl.fitlast import LastLayer
from nvnmd.hdl.fitmac import MacArray
from nvnmd.hdl.fitmem import LaneMemory
from nvnmd.hdl.fitnet import FitNet, FitResult, Schedule, compute
from nvnmd.hdl.fitpost import FitPost
from nvnmd.hdl.fitweights import fit_image
from nvnmd.hdl.image import section_beats
from nvnmd.hdl.load import Section
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.tanh4 import Tanh4
from nvnmd.quantize.fitting import fitting_net
from nvnmd.quantize.ops import tanh4, tanh4_grad

ONE = 1 << 23


def config(width: int = 16, cols: int = 4, rows: int = 1, **more: object) -> AcceleratorConfig:
    values: dict = {"m1": width // 4, "m2": 4, "width": width, "fold": 1, "fit_cols": cols,
                    "fit_rows": rows, "ntypes": 2, "trace": True}
    return AcceleratorConfig(**{**values, **more})


def random_net(
    rng: np.random.Generator, cfg: AcceleratorConfig, scale: float = 0.2, types: int | None = None
) -> tuple[list, list]:
    nt = cfg.nets if types is None else types
    outs = [cfg.width] * cfg.hidden + [1]
    weights = [rng.normal(0, scale, (nt, cfg.width, n)) for n in outs]
    biases = [rng.normal(0, scale, (nt, n)) for n in outs]
    return weights, biases


# The spec in binary64, section 4.7, 4.8 and 5.1, apart from the project's own definitions.

def _floor(x: np.ndarray, k: int) -> np.ndarray:
    return np.floor(x * 2.0**k) / 2.0**k


def _round(x: np.ndarray, k: int) -> np.ndarray:
    return np.sign(x) * np.floor(np.abs(x) * 2.0**k + 0.5) / 2.0**k


def _matmul(x: np.ndarray, w: np.ndarray, whole: bool) -> np.ndarray:
    top = np.abs(w).max() if whole else np.abs(w).max(axis=0)
    e = np.frexp(np.where(top == 0, 2.0**-100, top))[1] - 1
    w_q = np.floor(w / 2.0**e * 2.0**19) / 2.0**19 * 2.0**e
    return _floor(x @ w_q, 23)


def _tanh(z: np.ndarray) -> np.ndarray:
    a = np.abs(z)
    q = _floor(a * _floor(a, 19), 23)
    return np.sign(z) * np.where(a < 2, _floor(q * (q / 16 - a / 4) + a, 23), 1.0)


def _tanh_gradient(z: np.ndarray, g: np.ndarray) -> np.ndarray:
    a = np.minimum(np.abs(z), 2.0)
    slope = _floor(_floor(a * _floor(a, 19), 19) * (a / 4 - 0.75) + 1, 19)
    return _floor(slope * g, 23)


def by_the_spec(weights: list, biases: list, d: np.ndarray, t: int) -> FitResult:
    w = [_round(np.asarray(x[t]), 23) for x in weights]
    b = [_round(np.asarray(x[t]), 23) for x in biases]
    x = _round(np.asarray(d, dtype=float) / ONE, 23)
    z_all: list = []
    for layer in range(len(w) - 1):
        z = _matmul(x, w[layer], False) + b[layer]
        z_all.append(z)
        x = _round(_tanh(z) + (x if layer else 0.0), 23)
    out = _matmul(x, w[-1], True) + b[-1]
    g = _matmul(np.ones(1), w[-1].T, True)
    for layer in reversed(range(len(w) - 1)):
        back = _round(_round(_tanh_gradient(z_all[layer], _round(g, 23)), 23), 21)
        down = _round(_matmul(back, w[layer].T, False), 23)
        g = down + (g if layer else 0.0)
    whole = [np.array(z_all) * ONE, out[0] * ONE, g * ONE]
    assert all(np.all(v == np.floor(v)) for v in whole)
    return FitResult(whole[0].astype(np.int64), int(whole[1]), whole[2].astype(np.int64))


def of_type(weights: list, biases: list, terms: np.ndarray, t: int) -> tuple[list, list]:
    """The net of version 0 that a type of version 1 amounts to: its term is a part of the bias."""
    first = np.round(np.asarray(biases[0]) * ONE) / ONE + terms[t]
    return weights, [first, *biases[1:]]


def random_types(rng: np.random.Generator, cfg: AcceleratorConfig, count: int) -> np.ndarray:
    return np.round(rng.normal(0, 0.3, (count, cfg.width)) * ONE) / ONE


def assert_same(found: FitResult, wanted: FitResult) -> None:
    np.testing.assert_array_equal(found.z, wanted.z)
    assert found.energy == wanted.energy
    np.testing.assert_array_equal(found.dd, wanted.dd)


# Simulation

class Bench:
    """A fitting net in the simulator: loads an image, feeds atoms, collects what comes out."""

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self.dut = FitNet(cfg)
        self.reset = Signal()
        self.sim = Simulator(ResetInserter(self.reset)(self.dut))
        self.sim.add_clock(1e-6)
        self.energies: list[tuple[int, int]] = []
        self.dd: list[int] = []
        self.lasts: list[int] = []
        self.z: dict[tuple[int, int], list[int]] = {}
        self.z_order: list[tuple[int, int, list[int]]] = []
        self.overflows = 0
        self.energy_cycles: list[int] = []
        self.cycle = 0

    async def load(self, ctx, image: dict[Section, np.ndarray]) -> None:
        await load_beats(ctx, self.dut.load, image)

    async def send(self, ctx, atoms: Sequence[tuple[list[int], int]], idle: Callable[[], bool],
                   beats: int | None = None) -> None:
        d = self.dut.d
        words = [(v, t, i == len(values) - 1) for values, t in atoms
                 for i, v in enumerate(values)][:beats]
        for value, t, last in words:
            while idle():
                await ctx.tick()
            ctx.set(d.valid, 1)
            ctx.set(d.payload, {"value": value, "ctype": t, "last": last})
            await ctx.tick().until(d.ready)
            ctx.set(d.valid, 0)

    def run(self, image: dict, atoms: list, *, stall_in: float = 0, stall_out: float = 0,
            seed: int = 0, before: Callable | None = None) -> list[FitResult]:
        """Results of all atoms; `before` runs between the load and the first atom."""
        rng = random.Random(seed)
        dut, cfg = self.dut, self.cfg

        async def feed(ctx) -> None:
            await self.load(ctx, image)
            if before is not None:
                await before(self, ctx)
            await self.send(ctx, atoms, lambda: rng.random() < stall_in)

        async def watch(ctx) -> None:
            layer_z: list[tuple[int, int, list[int]]] = []
            while len(self.dd) < len(atoms) * cfg.width or len(self.energies) < len(atoms):
                ctx.set(dut.energy.ready, rng.random() >= stall_out)
                ctx.set(dut.dd.ready, rng.random() >= stall_out)
                sample = ctx.tick().sample(
                    dut.energy.valid & dut.energy.ready, dut.energy.payload,
                    dut.dd.valid & dut.dd.ready, dut.dd.payload,
                    dut.z_valid, dut.z_layer, dut.z_index, dut.z, dut.overflow, self.reset)
                _, _, e_on, e, dd_on, dd, z_on, layer, index, z, bad, reset = await sample
                self.cycle += 1
                if reset:
                    layer_z.clear()
                    self.energies.clear()
                    self.dd.clear()
                    self.lasts.clear()
                    self.overflows = 0
                    continue
                if e_on:
                    self.energies.append((e.value, e.ctype))
                    self.energy_cycles.append(self.cycle)
                if dd_on:
                    self.dd.append(dd.value)
                    self.lasts.append(dd.last)
                if z_on:
                    layer_z.append((layer, index, [z[i] for i in range(dut.post_lanes)]))
                self.overflows += bad
            self.z_order = layer_z

        self.sim.add_testbench(feed, background=True)
        self.sim.add_testbench(watch)
        self.sim.run()
        return self._results(atoms)

    def _results(self, atoms: list) -> list[FitResult]:
        width, hidden = self.cfg.width, self.cfg.hidden
        assert [t for _, t in self.energies] == [t for _, t in atoms]
        assert self.lasts == ([0] * (width - 1) + [1]) * len(atoms)
        z = np.array([v for _, _, group in self.z_order for v in group])
        z = z.reshape(len(atoms), hidden, width)
        lanes = self.dut.post_lanes
        assert [(layer, index) for layer, index, _ in self.z_order] == list(
            itertools.product(range(hidden), range(0, width, lanes))) * len(atoms)
        dd = np.array(self.dd).reshape(-1, width)
        return [FitResult(z[i], self.energies[i][0], dd[i]) for i in range(len(atoms))]


def random_atoms(rng: np.random.Generator, cfg: AcceleratorConfig, n: int,
                 scale: float = 0.5) -> list[tuple[list[int], int]]:
    return [((rng.normal(0, scale, cfg.width) * ONE).astype(int).tolist(),
             int(rng.integers(cfg.ntypes))) for _ in range(n)]


# Arithmetic without hardware

@pytest.mark.parametrize("scale", [0.05, 0.12, 0.3])
def test_integers_equal_the_spec(scale: float) -> None:
    # weights of 0.3 leave 27 bits; the integers are the same in more
    cfg = config(128, 32, ntypes=4, data_bits=29 if scale == 0.3 else 27)
    rng = np.random.default_rng(int(scale * 100))
    weights, biases = random_net(rng, cfg, scale, types=3)
    weights[1][0, :, 5] = 0.0  # a column, and backward a row, of zeros
    weights[1][1, 7, :] = 0.0
    image = fit_image(weights, biases, cfg)
    for t in range(3):
        for d in (rng.normal(0, 0.3, 128), rng.uniform(-2e-6, 0, 128), np.zeros(128)):
            words = np.floor(d * ONE).astype(np.int64)
            assert_same(compute(image, words, t, cfg), by_the_spec(weights, biases, words, t))


@pytest.mark.parametrize("capacity", [128, 256])
def test_trained_weights(capacity: int) -> None:
    """DeePMD-kit's weights and descriptors: its energies, by the spec and by the reference."""
    run = load_fixture(capacity)
    model = run.model
    cfg = config(128, 32, ntypes=4)
    image = fit_image(model.fit_weights, model.fit_biases, cfg)
    frame = run.frames[0]
    order = np.argsort(frame.types, kind="stable")
    d = np.round(frame.slots["descriptor"] * ONE).astype(np.int64)
    for atom in range(0, len(order), max(1, len(order) // 6)):
        t = int(frame.types[order[atom]])
        found = compute(image, d[atom], t, cfg)
        assert_same(found, by_the_spec(list(model.fit_weights), list(model.fit_biases), d[atom], t))
        energy = found.energy / ONE + model.t_bias_atom_e[t]
        assert energy == frame.qnn["atom_energy"][order[atom]]
        net = fitting_net(d[atom][None] / ONE, [w[t] for w in model.fit_weights],
                          [b[t] for b in model.fit_biases])
        np.testing.assert_array_equal(found.dd, net.grad[0] * ONE)


def test_golden_weights(shared: Path) -> None:
    cfg = config(128, 32, ntypes=2)
    model = load_folder(shared / "golden" / "v0_ni128_gete").model
    image = fit_image(model.fit_weights, model.fit_biases, cfg)
    rng = np.random.default_rng(7)
    for t in range(2):
        d = np.floor(rng.normal(0, 0.1, 128) * ONE).astype(np.int64)
        assert_same(compute(image, d, t, cfg),
                    by_the_spec(list(model.fit_weights), list(model.fit_biases), d, t))


def z_corners() -> list[int]:
    near = [0, 1, 15, 16, 17, ONE, 2 * ONE - 1, 2 * ONE, 2 * ONE + 1, 3 * ONE, (1 << 26) - 1]
    rng = random.Random(3)
    return [-(1 << 26), *near, *(-v for v in near),
            *(rng.randrange(-2 * ONE, 2 * ONE) for _ in range(150)),
            *(rng.randrange(-(1 << 26), 1 << 26) for _ in range(20))]


def test_tanh4_integers_equal_the_definition() -> None:
    cfg = config()
    z = np.array(z_corners()) / ONE
    pairs = np.array([Tanh4.compute(v, cfg) for v in z_corners()])
    np.testing.assert_array_equal(pairs[:, 0], tanh4(z) * ONE)
    for g in (1.0, -1.0, 7 / ONE, -1 / ONE):
        wanted = tanh4_grad(z, z * 0 + g) * ONE
        np.testing.assert_array_equal(pairs[:, 1] * int(g * ONE) >> 19, wanted)


def test_image_fills_absent_types_and_refuses_what_does_not_fit() -> None:
    cfg = config(16, 4, ntypes=4)
    weights, biases = random_net(np.random.default_rng(1), cfg, types=2)
    image = fit_image(weights, biases, cfg)
    assert {k: v.shape for k, v in image.items()} == {
        k: (n, 4) for k, n in section_beats(cfg).items() if k >= Section.FIT_FORWARD}
    half = len(image[Section.FIT_FORWARD]) // 2
    assert image[Section.FIT_FORWARD][:half].any() and not image[Section.FIT_FORWARD][half:].any()
    with pytest.raises(InputError, match="layer 2 has weights"):
        fit_image([*weights[:2], weights[2][:, :, :5], weights[3]], biases, cfg)
    with pytest.raises(InputError, match="3 weight and 4 bias arrays"):
        fit_image(weights[:3], biases, cfg)
    with pytest.raises(RangeError, match="layer 1: bias 9 leaves"):
        fit_image(weights, [biases[0], biases[1] * 0 + 9, *biases[2:]], cfg)
    with pytest.raises(RangeError, match="not finite"):
        fit_image([weights[0] * np.nan, *weights[1:]], biases, cfg)
    with pytest.raises(RangeError, match="magnitude"):
        fit_image([weights[0] * 2.0**30, *weights[1:]], biases, cfg)


def test_shared_net_of_version_1() -> None:
    """Its integers, the spec's by another way, and the reference; other types, other results."""
    cfg = config(16, 4, ntypes=8, version=1)
    rng = np.random.default_rng(11)
    weights, biases = random_net(rng, cfg)
    terms = random_types(rng, cfg, 5)
    image = fit_image(weights, biases, cfg, terms)
    assert {k: v.shape for k, v in image.items()} == {
        k: (n, 4) for k, n in section_beats(cfg).items()
        if k >= Section.FIT_FORWARD and k not in (Section.TYPE_GAIN, Section.INV_STD)}
    words = (rng.normal(0, 0.5, 16) * ONE).astype(np.int64)
    results = [compute(image, words, t, cfg) for t in range(5)]
    for t, found in enumerate(results):
        assert_same(found, by_the_spec(*of_type(weights, biases, terms, t), words, 0))
        net = fitting_net(words[None] / ONE, [w[0] for w in weights], [b[0] for b in biases],
                          type_term=terms[t : t + 1])
        assert found.energy == net.out[0] * ONE
        np.testing.assert_array_equal(found.dd, net.grad[0] * ONE)
    assert len({found.energy for found in results}) == 5
    with pytest.raises(InputError, match=r"type terms \(9, 16\), expected \(types, 16\)"):
        fit_image(weights, biases, cfg, np.zeros((9, 16)))
    with pytest.raises(InputError, match="version 1 does not go"):
        fit_image(weights, biases, cfg)
    with pytest.raises(RangeError, match="type term 9 leaves"):
        fit_image(weights, biases, cfg, terms * 0 + 9)


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


# Hardware against the integers

@pytest.mark.parametrize(("write", "read"), [(1, 1), (1, 4), (4, 1), (2, 8), (4, 4)])
def test_lane_memory(write: int, read: int) -> None:
    dut = LaneMemory(16, 9, write_lanes=write, read_lanes=read)
    values = random.Random(write * read).sample(range(512), 16)

    async def bench(ctx) -> None:
        ctx.set(dut.w_en, 1)
        for g in range(16 // write):
            ctx.set(dut.w_index, g)
            ctx.set(dut.w_data, values[g * write:(g + 1) * write])
            await ctx.tick()
        ctx.set(dut.w_en, 0)
        ctx.set(dut.w_data, [0] * write)
        await ctx.tick()
        for g in (*range(16 // read), 0):
            ctx.set(dut.r_index, g)
            await ctx.tick()
            assert [ctx.get(dut.r_data[i]) for i in range(read)] == values[g * read:(g + 1) * read]

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("mult_latency", [1, 3])
def test_tanh4_hardware(mult_latency: int) -> None:
    cfg = config(mult_latency=mult_latency)
    dut = Tanh4(cfg)
    z = z_corners()

    async def bench(ctx) -> None:
        for i in range(len(z) + dut.latency):
            if i >= dut.latency:
                wanted = dut.compute(z[i - dut.latency], cfg)
                assert (ctx.get(dut.y), ctx.get(dut.slope)) == wanted
            ctx.set(dut.z, z[min(i, len(z) - 1)])
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


async def load_beats(ctx, bus, image: dict[Section, np.ndarray]) -> None:
    for section, beats in image.items():
        for index, beat in enumerate(beats.tolist()):
            ctx.set(bus.valid, 1)
            ctx.set(bus.section, int(section))
            ctx.set(bus.index, index)
            ctx.set(bus.data, sum((v & 0xFFFFFFFF) << (32 * i) for i, v in enumerate(beat)))
            await ctx.tick()
    ctx.set(bus.valid, 0)
    await ctx.tick()


@pytest.mark.parametrize(("cols", "rows"), [(4, 1), (8, 4)])
def test_array_hardware(cols: int, rows: int) -> None:
    """Both directions' matrices, largest magnitudes among them, blocks back to back."""
    cfg = config(8, cols, rows, ntypes=1, hidden=2)
    dut = MacArray(cfg)
    rng = np.random.default_rng(cols)
    low = -(1 << 20)
    mats = rng.integers(low, -low, (4, 8, 8))
    mats[1] = low
    x = rng.integers(-(1 << 26), 1 << 26, 8)
    x[:4] = -(1 << 26)
    image = {Section.FIT_FORWARD: mats[:2].reshape(-1, 4),
             Section.FIT_BACKWARD: mats[2:].reshape(-1, 4)}
    blocks, chunks = 8 // cols, 8 // rows
    order = list(itertools.product(range(4), range(blocks), range(chunks)))
    sums: list[list[int]] = []

    async def bench(ctx) -> None:
        await load_beats(ctx, dut.load, image)
        for i in range(len(order) + dut.latency + 1):
            # inputs come one cycle after their step
            if 0 < i <= len(order):
                chunk = order[i - 1][2]
                ctx.set(dut.x, x[chunk * rows:(chunk + 1) * rows].tolist())
            ctx.set(dut.step, i < len(order))
            if i < len(order):
                matrix, block, chunk = order[i]
                ctx.set(dut.matrix, matrix)
                ctx.set(dut.block, block)
                ctx.set(dut.chunk, chunk)
                ctx.set(dut.first, chunk == 0)
                ctx.set(dut.last, chunk == chunks - 1)
            if ctx.get(dut.sums_valid):
                assert (i - dut.latency + 1) % chunks == 0
                sums.append([ctx.get(dut.sums[c]) for c in range(cols)])
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    wanted = [dut.compute(x.tolist(), mats[k][:, b * cols:(b + 1) * cols].tolist())
              for k in range(4) for b in range(blocks)]
    assert sums == wanted


def test_last_layer_hardware() -> None:
    cfg = config(16, 4, ntypes=2)
    dut = LastLayer(cfg, 2)
    rng = np.random.default_rng(4)
    words = rng.integers(-(1 << 20), 1 << 20, (2, 16))
    final = np.array([[-3, -3, -77, 0], [2, 2, 1 << 20, 0]])
    image = {Section.FIT_LAST_FORWARD: words.reshape(-1, 4),
             Section.FIT_LAST_BACKWARD: words.reshape(-1, 4), Section.FIT_LAST: final}
    x = rng.integers(-(1 << 22), 1 << 22, 16).tolist()
    energies: list[tuple[int, int]] = []
    grads: list[int] = []

    async def bench(ctx) -> None:
        await load_beats(ctx, dut.load, image)
        for i in range(16 + dut.energy_latency + 1):
            t, group = divmod(i, 8)
            ctx.set(dut.x_valid, t < 2)
            for name, value in (("x_type", t), ("x_group", group), ("grad_type", t),
                                ("grad_group", group)):
                ctx.set(getattr(dut, name), value & 7 if "group" in name else value & 1)
            ctx.set(dut.x_first, group == 0)
            ctx.set(dut.x_last, group == 7)
            ctx.set(dut.x, x[2 * group:2 * group + 2])
            if ctx.get(dut.energy_valid):
                energies.append((ctx.get(dut.energy_type), ctx.get(dut.energy)))
                assert i == 8 * len(energies) - 1 + dut.energy_latency
            if 0 <= i - dut.grad_latency < 16:
                assert not ctx.get(dut.grad_overflow)
                grads.extend(ctx.get(dut.grad[k]) for k in range(2))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    wanted = [dut.compute(x, words[t].tolist(), 19 - int(final[t, 0]), int(final[t, 2]))
              for t in range(2)]
    assert energies == [(t, wanted[t][0]) for t in range(2)]
    assert grads == wanted[0][1] + wanted[1][1]


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


@pytest.mark.parametrize("what", ["z", "activation", "energy", "last weight", "gradient", None])
def test_overflow_is_reported(what: str | None) -> None:
    """Just inside a format nothing is reported; each way out of it is."""
    cfg = config(16, 4, ntypes=1, energy_bits=26)
    if what == "activation":
        # skips add at most 1 per layer: only a narrower format is too small for them
        cfg = cfg.with_(data_bits=26, hidden=5)
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
    image = fit_image(weights, biases, cfg)
    if what is None:
        assert 0.9998 * limit < compute(image, d, 0, cfg).z[0, 2] < limit
    else:
        with pytest.raises(RangeError, match=what):
            compute(image, d, 0, cfg)
    bench = Bench(cfg)
    bench.run(image, [(d, 0)])
    assert (bench.overflows > 0) == (what is not None)


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


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LaneMemory(16, 9, write_lanes=3, read_lanes=1), "power of two"),
        (lambda: LaneMemory(6, 9, write_lanes=4, read_lanes=1), "multiple of 4"),
        (lambda: FitPost(config(16, 16, 16), 1), "keep up"),
        (lambda: Tanh4(config(short_frac=24)), "short_frac"),
    ],
)
def test_parameters_are_checked(build: Callable[[], object], message: str) -> None:
    with warnings.catch_warnings():
        # a component whose constructor refuses is never elaborated
        warnings.simplefilter("ignore", UnusedElaboratable)
        with pytest.raises(InputError, match=message):
            build()
        gc.collect()


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
