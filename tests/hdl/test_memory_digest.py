"""The digest over the model's memories: that of the image, and of every bit of every memory."""

from __future__ import annotations

import random
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Value, ValueLike
from amaranth.lib import memory
from amaranth.sim import Simulator

from nvnmd.hdl.core import STATUS_BITS, Core
from nvnmd.hdl.host.image import MAGIC, fingerprint, section_beats
from nvnmd.hdl.host.loader import digest_cycles
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.delay import Delay
from nvnmd.hdl.pipeline.loadbus import LANES, Section

SMALL = AcceleratorConfig(
    ntypes=2, max_nnei=32, store_neighbors=32, m1=4, m2=2, width=8, hidden=1, fold=2, fit_cols=4,
    u_segments=((-3, 2),), s_segments=((-8, 1), (-4, 1)))
OCTAVES = ((-7, 2), (-7, 2))
KINDS = {
    "version 0": SMALL,
    "version 0, wide": replace(SMALL, fold=1, fit_cols=8, fit_rows=2),
    "version 0, octave, one copy": replace(
        SMALL, octave=True, u_segments=OCTAVES, weights_once=True),
    "version 1": replace(SMALL, version=1, ntypes=4),
    "version 1, octave, one copy": replace(
        SMALL, version=1, octave=True, u_segments=OCTAVES, weights_once=True),
    "SUB_VERSION 2": replace(SMALL, version=1, sub_version=2, fold=4),
}


def image(cfg: AcceleratorConfig, seed: int) -> np.ndarray:
    """Random words in the form that each section has: what the memories can hold, and no more."""
    rng = np.random.default_rng(seed)

    def signed(bits: int, shape: tuple[int, ...]) -> np.ndarray:
        return rng.integers(-(1 << bits - 1), 1 << bits - 1, shape)

    def flt(shape: tuple[int, ...]) -> np.ndarray:
        return rng.integers(0, 1 << cfg.flt_bits, shape)

    sel = np.zeros(4 * -(-cfg.ntypes // 4), dtype=np.int64)
    sel[:cfg.ntypes] = rng.integers(0, cfg.max_nnei, cfg.ntypes)
    beats = []
    for section, count in section_beats(cfg).items():
        shape = (count, LANES)
        if section == Section.PARAMS:
            words = np.concatenate([[cfg.ntypes, 7 | 9 << 8, -300, 27], sel]).reshape(shape)
        elif section in (Section.U_VALUE, Section.U_GRAD):
            words = flt((count // 4, 4, LANES)) if cfg.radial == 3 else flt((count // 2, 2, LANES))
            # two functions, or three in the room of four
            words[:, cfg.radial:] = 0
            words = words.reshape(shape)
        elif section in (Section.G_VALUE, Section.G_GRAD, Section.TYPE_GAIN):
            words = flt(shape)
        elif section == Section.EMPTY:
            words = signed(32, shape)
        elif section == Section.FIT_FORWARD and cfg.weights_once:
            words = signed(27, shape)
        elif section in (Section.FIT_FORWARD, Section.FIT_BACKWARD, Section.FIT_LAST_FORWARD,
                         Section.FIT_LAST_BACKWARD):
            words = signed(cfg.weight_bits, shape)
        elif section == Section.FIT_COLUMN:
            # kept as a shift of 0 to 63, and with one copy as one of 0 to 7 as well
            words = rng.integers(-4 if cfg.weights_once else cfg.weight_frac - 63, 4, shape)
        elif section in (Section.FIT_BIAS, Section.TYPE_TERM):
            words = signed(cfg.data_bits, shape)
        elif section == Section.FIT_LAST:
            words = np.zeros(shape, dtype=np.int64)
            words[:, :2] = rng.integers(cfg.weight_frac - 63, cfg.weight_frac + 1, (count, 2))
            words[:, 2] = signed(cfg.energy_bits, (count,))
        else:
            assert section == Section.INV_STD
            words = flt(shape)
            words[:, cfg.radial:] = 0
        beats.append(words)
    body = (np.concatenate(beats) & 0xFFFFFFFF).astype("<u4")
    head = np.array([[MAGIC, fingerprint(cfg), len(body), zlib.crc32(body.tobytes())]], "<u4")
    return np.concatenate([head, body])


def as_bits(place: ValueLike) -> Value:
    """A row of a memory as the bits it is."""
    bits = Value.cast(place)
    return bits.as_unsigned() if bits.shape().signed else bits


@pytest.fixture(params=[
    # Python is slow to simulate a whole core
    kind if kind in ("version 0", "version 1, octave, one copy")
    else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS])
def case(request, monkeypatch):
    """A core and its memories, in the order in which they were made."""
    made: list[memory.Memory] = []
    plain = memory.Memory.__init__

    def note(self, *args, **kwargs):
        plain(self, *args, **kwargs)
        # a delay holds what passes it, also while a model is loaded
        if sys._getframe(2).f_globals["__name__"] != Delay.__module__:
            made.append(self)

    monkeypatch.setattr(memory.Memory, "__init__", note)
    cfg = KINDS[request.param]
    return cfg, Core(cfg), made


def test_the_digest_is_of_every_memory_of_the_model(case):
    """A bit flipped in any memory that a load writes changes it; flipped back, it is the image's.

    Which memories those are is seen by loading another image: their words change.
    """
    cfg, core, made = case
    first, other = image(cfg, 1), image(cfg, 2)
    rng = random.Random(3)
    report = {}

    async def load(ctx, beats):
        for n, beat in enumerate(beats):
            ctx.set(core.load.payload.data, int.from_bytes(beat.tobytes(), "little"))
            ctx.set(core.load.payload.last, n == len(beats) - 1)
            ctx.set(core.load.valid, 1)
            await ctx.tick().until(core.load.ready)
        ctx.set(core.load.valid, 0)
        await ctx.tick().repeat(4)
        assert ctx.get(core.status) == 1 << STATUS_BITS.index("model_valid")

    async def digests(ctx):
        ctx.set(core.verify, 1)
        cycles = 0
        while not ctx.get(core.verified):
            await ctx.tick()
            cycles += 1
            assert cycles < 100_000
        ctx.set(core.verify, 0)
        await ctx.tick()
        report["cycles"] = cycles
        return ctx.get(core.digests[0]), ctx.get(core.digests[1])

    def flip(ctx, place, bit):
        ctx.set(place, ctx.get(place) ^ 1 << bit)

    async def bench(ctx):
        crc = int(first[0, 3])
        await load(ctx, other)
        before = [[ctx.get(as_bits(place)) for place in mem.data] for mem in made]
        await load(ctx, first)
        assert await digests(ctx) == (crc, crc)
        assert report["cycles"] <= digest_cycles(cfg) + 3
        models = []
        for mem, rows in zip(made, before, strict=True):
            changed = [row for row, was in enumerate(rows)
                       if ctx.get(as_bits(mem.data[row])) != was]
            if changed:
                models.append((mem, changed))
        report["memories"] = len(models)
        for mem, rows in models:
            row = rng.choice(rows)
            place = as_bits(mem.data[row])
            bit = rng.randrange(len(place))
            flip(ctx, place, bit)
            assert await digests(ctx) != (crc, crc), (mem.shape, mem.depth, row, bit)
            flip(ctx, place, bit)
        assert await digests(ctx) == (crc, crc)

    sim = Simulator(core)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    # tables, weights both ways or once, last layer twice, exponents, biases
    assert report["memories"] >= 7
