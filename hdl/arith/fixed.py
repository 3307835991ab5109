"""Small pipelined helpers of the fitting net: delays, adder trees, two-stage shifts, rounding."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Signal, Value, ValueLike

from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.delay import Delay
from nvnmd.quantize.ops import GRAD_FRAC


def delayed(m: Module, value: ValueLike, cycles: int) -> Value:
    """`value` as it was `cycles` cycles ago, through a `Delay`."""
    current = Value.cast(value)
    if cycles == 0:
        return current
    line = Delay(current.shape(), cycles)
    m.submodules += line
    m.d.comb += line.i.eq(current)
    return line.o


def net_of(cfg: AcceleratorConfig, kind: Value) -> Value:
    """The number of the net that serves atoms of a type: its own in version 0, the one else."""
    return kind if cfg.version == 0 else Const(0)


def tree_latency(n: int) -> int:
    """Cycles of `tree_sum` over n terms."""
    return (n - 1).bit_length()


def tree_sum(m: Module, terms: Sequence[Value]) -> Value:
    """Sum of signed terms, one register level per halving (none for a single term)."""
    level = list(terms)
    while len(level) > 1:
        following: list[Value] = []
        for i in range(0, len(level), 2):
            total = sum(level[i:i + 2][1:], level[i])
            register = Signal(total.shape(), reset_less=True)
            m.d.sync += register.eq(total)
            following.append(register)
        level = following
    return level[0]


SHIFT_LATENCY = 2


def shift_right(m: Module, value: Value, amount: Value) -> Value:
    """``value >> amount`` (a floor), two cycles later: by eights, then by the rest."""
    coarse = Signal(value.shape(), reset_less=True)
    fine = Signal(value.shape(), reset_less=True)
    rest = Signal(3, reset_less=True)
    m.d.sync += [
        coarse.eq(value >> Cat(Const(0, 3), amount[3:])),
        rest.eq(amount[:3]),
        fine.eq(coarse >> rest),
    ]
    return fine


def round_shift(value: Value, bits: int) -> Value:
    """``value / 2**bits`` to the nearest whole number, halves away from zero (combinational)."""
    if bits == 0:
        return value
    half = 1 << (bits - 1)
    return (value + half - (value < 0)) >> bits


def leaves(value: Value, bits: int) -> Value:
    """Whether a signed value does not fit in `bits` bits."""
    if len(value) <= bits:
        return Value.cast(0)
    top = value[bits - 1:]
    return top.any() & ~top.all()


def round_half_away(x: int, bits: int) -> int:
    """`round_shift` on a Python integer."""
    half = (1 << bits) >> 1
    return (x + half - (x < 0)) >> bits if bits else x


def gradient_drop(fix_frac: int) -> int:
    """Fraction bits that the gradient loses before it meets the weights (round_21)."""
    return max(0, fix_frac - GRAD_FRAC)
