"""The serial port in Amaranth's simulator: bytes, a wrong pace, breaks."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("amaranth", reason="Amaranth is not installed")

from amaranth.sim import Simulator

from nvnmd.boards.ecp5 import find_pll
from nvnmd.boards.uart import Uart, divisor_of
from nvnmd.errors import InputError

DIVISOR = 8


def levels(data: bytes, cycles: float) -> list[int]:
    """A line's level in each clock cycle while it carries some bytes."""
    bits = [bit for byte in data for bit in (0, *((byte >> k) & 1 for k in range(8)), 1)]
    return [bits[int(t / cycles)] for t in range(int(len(bits) * cycles))]


def run(line: list[int], idle: int = 200) -> bytes:
    """What comes back when the receiver feeds the sender, read from its pin."""
    dut = Uart(DIVISOR)
    seen: list[int] = []

    async def bench(ctx):
        for level in [1] * 20 + line + [1] * idle:
            ctx.set(dut.rx, level)
            seen.append(ctx.get(dut.tx))
            valid = ctx.get(dut.received.valid)
            ctx.set(dut.send.payload, ctx.get(dut.received.payload))
            ctx.set(dut.send.valid, valid)
            ctx.set(dut.received.ready, ctx.get(dut.send.ready))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    out, at = bytearray(), 0
    while at < len(seen):
        if seen[at]:
            at += 1
            continue
        middle = [seen[at + DIVISOR // 2 + DIVISOR * k] for k in range(10)
                  if at + DIVISOR // 2 + DIVISOR * k < len(seen)]
        assert middle[0] == 0 and middle[-1] == 1
        out.append(sum(bit << k for k, bit in enumerate(middle[1:9])))
        at += 9 * DIVISOR + DIVISOR // 2
    return bytes(out)


@pytest.mark.parametrize("pace", [1.0, 1.02, 0.98])
def test_bytes_at_nearly_the_right_pace(pace):
    data = random.Random(1).randbytes(12) + b"\x00\xff\x55\xaa"
    gaps = []
    for byte in data:
        gaps += levels(bytes([byte]), DIVISOR * pace) + [1] * 6
    assert run(gaps) == data


def test_a_line_that_is_held_low_is_no_byte():
    assert run([0] * 300 + [1] * 40 + levels(b"a", DIVISOR)) == b"a"


def test_paces_that_a_clock_cannot_make():
    assert divisor_of(25e6, 1_000_000) == 25
    for clock, baud in ((25e6, 3_000_000), (10e6, 3_000_000)):
        with pytest.raises(InputError, match=f"baud: got {baud} at a clock of"):
            divisor_of(clock, baud)


@pytest.mark.parametrize("oscillator, wanted", [(25e6, 50e6), (100e6, 25e6), (100e6, 66e6)])
def test_clocks_that_a_pll_makes(oscillator, wanted):
    pll = find_pll(oscillator, wanted)
    assert 0.99 * wanted < pll.frequency <= wanted
    assert pll.frequency == oscillator / pll.reference * pll.feedback
    assert 400e6 <= pll.frequency * pll.output <= 800e6
    with pytest.raises(InputError, match="expected one that a PLL makes"):
        find_pll(oscillator, 1e6)
