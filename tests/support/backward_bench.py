"""Random atoms, and the backward units wired as in the accelerator, for tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from amaranth import Module
from amaranth.hdl import Cat, Elaboratable, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.sim import Simulator

from nvnmd.hdl.arith.flt import FltValue
from nvnmd.hdl.atom.gradient import GradDescriptor
from nvnmd.hdl.neighbor.backward import FAULTS, NeighborBackward
from nvnmd.hdl.neighbor.store import NeighborStore
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.loadbus import Section
from nvnmd.quantize import ops
from nvnmd.quantize.formats import FloatFormat, encode_flt

NIX_SHIFT = 3
# inverse deviations of up to four types, version 1
INVERSE = ops.trunc_flt(np.array([[3.3, 0.7], [1.9, 2.1], [5.7, 0.3], [0.0, 1.0]]))
STAGES = ("dgr", "dr4", "dg", "ds", "dh")


def small(**changes) -> AcceleratorConfig:
    """A configuration of 8 channels that pysim runs quickly."""
    values = {
        "m1": 8, "m2": 4, "width": 32, "fold": 2, "max_nnei": 4, "store_neighbors": 6,
        "fit_cols": 4, "ntypes": 1, "trace": True,
    }
    return AcceleratorConfig(**(values | changes))


@dataclass
class Atom:
    """Random inputs of one atom, and what must come out."""

    dd: np.ndarray
    gr: np.ndarray
    none: bool
    g: np.ndarray
    slope: np.ndarray
    r: np.ndarray
    h: np.ndarray
    r4: np.ndarray
    slopes_u: np.ndarray
    gain: np.ndarray | None = None  # version 1, as is what follows
    inverse: np.ndarray | None = None
    ctype: int = 0
    factor: np.ndarray | None = None  # SUB_VERSION 2, as is what follows
    plain: np.ndarray | None = None

    def aligned(self, cfg: AcceleratorConfig, nix_shift=NIX_SHIFT):
        return GradDescriptor.compute(cfg, self.dd, self.gr, nix_shift)

    def expected(self, cfg: AcceleratorConfig, nix_shift=NIX_SHIFT):
        dgr = self.aligned(cfg, nix_shift).dgr
        return NeighborBackward.compute(
            cfg, dgr, self.g, self.slope, self.r, self.h, self.r4, self.slopes_u,
            self.gain, self.inverse, self.factor, self.plain,
        )


def flt_values(rng, cfg, shape, low=-12, high=3, *, zeros=0.1, tiny=0.0):
    """Random flt values: exponents low to high, some zeros, some below 2^-100 and 2^-127."""
    x = rng.uniform(1, 2, shape) * rng.choice([-1.0, 1.0], shape)
    x = x * 2.0 ** rng.integers(low, high + 1, shape)
    x = np.where(rng.random(shape) < tiny, x * 2.0 ** -rng.choice([90, 115, 140], shape), x)
    return ops.trunc_flt(np.where(rng.random(shape) < zeros, 0.0, x), cfg.frac)


def make_atom(rng, cfg, neighbors, *, tiny=0.0, kind="random") -> Atom:
    limit = 1 << (cfg.data_bits - 1)
    dd = rng.integers(-limit, limit, cfg.m1 * cfg.m2) >> rng.integers(0, 26, cfg.m1 * cfg.m2)
    gr = flt_values(rng, cfg, (4, cfg.m1), -25, 3)
    if kind == "zero":
        dd = dd * 0
    elif kind == "extreme":
        dd = np.where(rng.random(dd.shape) < 0.5, limit - 1, -limit)
    elif kind == "steep":
        # dE/dD in its whole format, with GR as a descriptor below 8 allows it
        limit = 1 << (cfg.dd_bits - 1)
        dd = np.where(rng.random(dd.shape) < 0.3, limit - 1, rng.integers(-limit, limit, dd.shape))
        gr = flt_values(rng, cfg, (4, cfg.m1), -20, 0)
    elif kind == "row":
        gr[1] = 0.0
        gr[:, 2] = 0.0
    m = neighbors
    ctype = int(rng.integers(cfg.ntypes))
    types = {} if cfg.version == 0 else {
        "gain": flt_values(rng, cfg, (m, cfg.m1), -3, 1),
        "inverse": INVERSE[ctype], "ctype": ctype,
    }
    if cfg.switched:
        # as far from 1 as a gain that has faded
        types["factor"] = flt_values(rng, cfg, (m, cfg.m1), -60, 1)
        types["plain"] = flt_values(rng, cfg, (m, cfg.m1), tiny=tiny)
    return Atom(
        **types,
        dd=dd, gr=gr, none=neighbors == 0,
        g=flt_values(rng, cfg, (m, cfg.m1), tiny=tiny),
        slope=flt_values(rng, cfg, (m, cfg.m1), tiny=tiny),
        r=flt_values(rng, cfg, (m, 3)),
        h=flt_values(rng, cfg, m, tiny=2 * tiny),
        r4=flt_values(rng, cfg, (m, 4), tiny=tiny),
        slopes_u=flt_values(rng, cfg, (m, cfg.radial), tiny=tiny),
    )


def fields(cfg, x) -> dict:
    return FltValue.from_float(cfg, float(x)).fields()


def words(cfg, x) -> list[int]:
    return encode_flt(x, FloatFormat(cfg.exp_bits, cfg.frac)).tolist()


async def feed(ctx, stream, payloads, rng, idle):
    """Send payloads (callables that set them) with idle cycles of the given probability."""
    for put in payloads:
        while rng.random() < idle:
            await ctx.tick()
        put()
        ctx.set(stream.valid, 1)
        await ctx.tick().until(stream.ready)
        ctx.set(stream.valid, 0)


def descriptor_feeds(ctx, cfg, unit, atoms):
    """The payloads of the dd and gr streams."""
    def put_dd(value, last):
        ctx.set(unit.dd.payload, {"value": int(value), "last": last})

    def put_gr(column, none, last):
        payload = {"column": [fields(cfg, x) for x in column], "none": none, "last": last}
        ctx.set(unit.gr.payload, payload)

    n = cfg.m1 * cfg.m2
    dd = [
        (lambda v=v, i=i: put_dd(v, int(i == n - 1)))
        for atom in atoms for i, v in enumerate(atom.dd)
    ]
    gr = [
        (lambda a=atom, i=i: put_gr(a.gr[:, i], int(a.none), int(i == cfg.m1 - 1)))
        for atom in atoms for i in range(cfg.m1)
    ]
    return dd, gr


class Chain(Elaboratable):
    """GradDescriptor, NeighborStore and NeighborBackward wired as in the accelerator."""

    def __init__(self, cfg, gr_atoms):
        self.cfg = cfg
        self.dgr, self.store = GradDescriptor(cfg, atoms=gr_atoms), NeighborStore(cfg)
        self.backward = NeighborBackward(cfg)
        self.rst = Signal()
        self.events = Signal(8)  # what `watch` looks at in every cycle, in one word

    def elaborate(self, platform):
        m = Module()
        m.submodules.dgr, m.submodules.store = self.dgr, self.store
        m.submodules.backward = self.backward
        wiring.connect(m, self.dgr.dgr, self.backward.dgr)
        wiring.connect(m, self.store.meta, self.backward.meta)
        m.d.comb += [
            self.store.slot_next.eq(self.backward.slot_next),
            self.backward.slot_o.eq(self.store.slot_o),
            self.events[:3].eq(
                Cat(self.store.neighbor_return, self.backward.overflow, self.dgr.overflow)
            ),
        ]
        if self.cfg.trace:
            m.d.comb += self.events[3:].eq(Cat(tap.valid for tap in self.taps().values()))
        return ResetInserter(self.rst)(m)

    def taps(self):
        backward = {name: getattr(self.backward, f"tap_{name}") for name in STAGES[1:]}
        return {"dgr": self.dgr.tap_dgr, **backward}


def run_chain(cfg, atoms, *, seed=0, idle=0.3, stall=0.3, faults=(), reset_after=None,
              nix_shift=NIX_SHIFT, gr_atoms=2):
    """Run atoms through the chain; returns output beats, taps, and times and counts.

    `faults` names a stage (or None) per atom to make faulty; each atom then runs alone. With
    `reset_after`, first run that many cycles, reset, and then start over.
    """
    chain = Chain(cfg, gr_atoms)
    unit = chain.backward
    rngs = [np.random.default_rng([seed, k]) for k in range(4)]
    out, taps = [], {name: [] for name in STAGES}
    state = {"running": reset_after is None, "credits": cfg.store_neighbors, "overflow": 0,
             "times": [], "loaded": False}
    n_out = sum(len(atom.g) for atom in atoms)

    async def load(ctx):
        if cfg.version:
            ctx.set(unit.load.section, Section.INV_STD)
            ctx.set(unit.load.valid, 1)
            for t in range(cfg.ntypes):
                first, second = words(cfg, INVERSE[t])
                ctx.set(unit.load.index, t)
                ctx.set(unit.load.data, first | second << 32)
                await ctx.tick()
            ctx.set(unit.load.valid, 0)
        state["loaded"] = True

    async def restart(ctx):
        while not state["loaded"]:
            await ctx.tick()
        while not state["running"]:
            await ctx.tick()

    async def feed_dd(ctx):
        ctx.set(chain.dgr.nix_shift, nix_shift)
        await restart(ctx)
        done = 0
        for n, atom in enumerate(atoms):
            dd, _ = descriptor_feeds(ctx, cfg, chain.dgr, [atom])
            if faults:
                while len(out) < done:
                    await ctx.tick()
                ctx.set(chain.dgr.fault, int(faults[n] == "dgr"))
                for stage in FAULTS:
                    ctx.set(unit.fault[stage], int(faults[n] == stage))
                done += len(atom.g)
            await feed(ctx, chain.dgr.dd, dd, rngs[0], idle)

    async def feed_gr(ctx):
        _, gr = descriptor_feeds(ctx, cfg, chain.dgr, atoms)
        await restart(ctx)
        await feed(ctx, chain.dgr.gr, gr, rngs[1], idle)

    async def feed_store(ctx):
        store = chain.store
        lanes = cfg.lanes
        slots = cfg.m1 // lanes
        await restart(ctx)
        for atom in atoms:
            for j in range(len(atom.g)):
                while state["credits"] == 0:
                    await ctx.tick()
                state["credits"] -= 1
                for k in range(slots):
                    while rngs[2].random() < idle:
                        await ctx.tick()
                    part = slice(k * lanes, (k + 1) * lanes)
                    ctx.set(store.slot_i, {
                        "g": [fields(cfg, x) for x in atom.g[j, part]],
                        "dg": [fields(cfg, x) for x in atom.slope[j, part]],
                        **({"gain": words(cfg, atom.gain[j, part])} if cfg.version else {}),
                        **({name: [fields(cfg, x) for x in getattr(atom, name)[j, part]]
                            for name in ("factor", "plain")} if cfg.switched else {}),
                    })
                    ctx.set(store.slot_valid, 1)
                    if k == slots - 1:
                        def top(x):
                            return int(ops.largest_exponent(x, -1)[0])

                        ctx.set(store.meta_i, {
                            "r": [fields(cfg, x) for x in atom.r[j]],
                            "h": fields(cfg, atom.h[j]),
                            "r4": [fields(cfg, x) for x in atom.r4[j]],
                            "ds": fields(cfg, atom.slopes_u[j, 0]),
                            **({"dk": fields(cfg, atom.slopes_u[j, 2])} if cfg.switched else {}),
                            "dh": fields(cfg, atom.slopes_u[j, 1]),
                            "gmax": top(atom.g[j]),
                            "dgmax": top(atom.slope[j]),
                            "r4max": top(atom.r4[j]),
                            "last": int(j == len(atom.g) - 1),
                            **({"ctype": atom.ctype} if cfg.version else {}),
                        })
                        ctx.set(store.meta_valid, 1)
                    await ctx.tick()
                    ctx.set(store.slot_valid, 0)
                    ctx.set(store.meta_valid, 0)

    async def watch(ctx):
        while True:
            await ctx.tick()
            events = ctx.get(chain.events)
            if not state["running"]:
                continue
            state["credits"] += events & 1
            state["overflow"] += (events >> 1 & 1) + (events >> 2 & 1)
            for k, name in enumerate(STAGES):
                if events >> (3 + k) & 1:
                    row = chain.taps()[name].words
                    taps[name].append([ctx.get(row[i]) for i in range(len(row))])

    async def collect(ctx):
        if reset_after is not None:
            old = make_atom(rngs[3], cfg, 3)
            dd, gr = descriptor_feeds(ctx, cfg, chain.dgr, [old] * 3)
            ctx.set(chain.dgr.dd.valid, 1)
            ctx.set(chain.dgr.gr.valid, 1)
            ctx.set(chain.store.slot_valid, 1)
            ctx.set(chain.store.meta_valid, 1)
            for k in range(reset_after):
                dd[k % len(dd)]()
                gr[k % len(gr)]()
                if k == 2 * cfg.fold:  # some neighbours, an odd number of slots
                    ctx.set(chain.store.meta_valid, 0)
                if k == 3 * cfg.fold + 1:
                    ctx.set(chain.store.slot_valid, 0)
                await ctx.tick()
            for signal in (chain.dgr.dd.valid, chain.dgr.gr.valid, chain.store.slot_valid,
                           chain.store.meta_valid):
                ctx.set(signal, 0)
            ctx.set(chain.rst, 1)
            await ctx.tick()
            ctx.set(chain.rst, 0)
            state["running"] = True
        while len(out) < n_out:
            ctx.set(unit.deriv.ready, int(rngs[3].random() >= stall))
            await ctx.tick()
        for _ in range(40):
            await ctx.tick()

    async def take(ctx):
        await restart(ctx)
        time = 0
        async for _clk, _rst, valid, ready, beat in ctx.tick().sample(
            unit.deriv.valid, unit.deriv.ready, unit.deriv.payload
        ):
            time += 1
            if valid and ready and state["running"]:
                state["times"].append(time)
                out.append(([beat.u, beat.x, beat.y, beat.z], beat.last))

    sim = Simulator(chain)
    sim.add_clock(1e-6)
    for process in (load, feed_dd, feed_gr, feed_store, watch, take):
        sim.add_testbench(process, background=True)
    sim.add_testbench(collect)
    sim.run()
    return out, taps, state


def check(cfg, atoms, out, taps, nix_shift=NIX_SHIFT):
    """Compare everything that came out with `compute`."""
    real = [atom for atom in atoms if len(atom.g)]
    grads = [atom.expected(cfg, nix_shift) for atom in real]
    assert [last for _, last in out] == [
        int(j == len(atom.g) - 1) for atom in real for j in range(len(atom.g))
    ]
    assert [beat for beat, _ in out] == [words(cfg, row) for g in grads for row in g.deriv]
    if not cfg.trace:
        return
    shown = [atom for atom in atoms if not atom.none]
    columns = [row for atom in shown for row in atom.aligned(cfg, nix_shift).dgr.T]
    assert taps["dgr"] == [words(cfg, row) for row in columns]
    assert taps["dr4"] == [words(cfg, row) for g in grads for row in g.dr4]
    assert taps["dg"] == [
        words(cfg, row) for g in grads for row in g.dg.reshape(-1, cfg.lanes)
    ]
    assert taps["ds"] == [[word] for g in grads for word in words(cfg, g.ds)]
    assert taps["dh"] == [[word] for g in grads for word in words(cfg, g.dh)]
