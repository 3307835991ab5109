"""What the tests of the arithmetic components share: flt values, exact cuts, a pipeline driver."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator

from nvnmd.hdl.arith.flt import FltValue
from nvnmd.hdl.params import AcceleratorConfig

FULL = AcceleratorConfig()
NARROW = replace(FULL, frac=10, offset_frac=6, mult_latency=1)
CONFIGS = pytest.mark.parametrize("cfg", [FULL, NARROW], ids=["frac20", "frac10"])


def fields(cfg: AcceleratorConfig, x: float) -> dict[str, int]:
    """What a simulator takes for a signal of FltLayout."""
    return FltValue.from_float(cfg, x).fields()


def number(cfg: AcceleratorConfig, view: Any) -> float:
    """The value of a simulated flt; asserts that it is in the canonical form."""
    value = FltValue.from_fields(view)
    if value.man == 0:
        assert value == FltValue(0, -(1 << (cfg.exp_int - 1)), 0), "zero is not canonical"
    else:
        assert value.man >> cfg.frac == 1, "mantissa is not normalised"
    return value.to_float(cfg)


def random_flt(rng: random.Random, cfg: AcceleratorConfig, low: int = -30, high: int = 30) -> float:
    """A flt value: some zeros, some sparse or full mantissas, exponents from low to high."""
    kind = rng.random()
    if kind < 0.05:
        return 0.0
    fraction = rng.getrandbits(cfg.frac)
    if kind < 0.15:
        fraction = 0
    elif kind < 0.25:
        fraction = (1 << cfg.frac) - 1
    elif kind < 0.35:
        fraction = 1 << rng.randrange(cfg.frac)
    man = (1 << cfg.frac) | fraction
    return rng.choice((-1.0, 1.0)) * man * 2.0 ** (rng.randint(low, high) - cfg.frac)


def simulate(dut: Any, bench: Callable) -> None:
    """Run an async testbench on `dut` at one clock."""
    top = Module()
    top.domains.sync = ClockDomain()  # a combinational component brings none
    top.submodules.dut = dut
    sim = Simulator(top)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def pipe(
    dut: Any, operands: Sequence, put: Callable, get: Callable, latency: int | None = None
) -> list:
    """Feed one operand set per cycle; the results, each `latency` cycles after its operands."""
    latency = dut.latency if latency is None else latency
    results = []

    async def bench(ctx: Any) -> None:
        for cycle in range(len(operands) + latency):
            if cycle < len(operands):
                put(ctx, operands[cycle])
            if latency == 0:
                await ctx.delay(1e-7)
            elif cycle >= latency:
                results.append(get(ctx))
            if latency == 0:
                results.append(get(ctx))
            await ctx.tick()

    simulate(dut, bench)
    return results


def exact_trunc(cfg: AcceleratorConfig, value: Fraction) -> float:
    """trunc of an exact number to a flt, from rational arithmetic alone."""
    if value == 0:
        return 0.0
    size = abs(value)
    exp = size.numerator.bit_length() - size.denominator.bit_length()
    if Fraction(2) ** exp > size:
        exp -= 1
    man = math.floor(size / Fraction(2) ** (exp - cfg.frac))
    return math.copysign(float(man * Fraction(2) ** (exp - cfg.frac)), value)


def assert_same(operands, got, want):
    assert len(got) == len(want)
    for x, g, w in zip(operands, got, want, strict=True):
        assert (g, math.copysign(1, g)) == (w, math.copysign(1, w)), f"{x}: got {g!r}, want {w!r}"
