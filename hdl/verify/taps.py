"""Verification taps: what every stage hands on, and a switch that falsifies one word of it.

Only builds with `cfg.trace` have them. A tap shows the words of one stage in the order in which
they are made; `fault` picks a stage and `fault_at` counts its tap beats: in that beat the last bit
of each word is flipped, as a wrong rounding would, so that a test can see that a difference in any
stage is found and named.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith.flt import to_word
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.loadbus import LANE_BITS

# In the order of the data flow: the first stage that differs is the one to blame. `fault` counts
# them from 1.
STAGES = (
    "u", "s", "h", "su", "hu", "r4", "g", "gs", "gr", "d", "z", "energy", "dd", "dgr", "dr4", "dg",
    "ds", "dh", "deriv",
)


def words_per_beat(name: str, cfg: AcceleratorConfig, z_lanes: int = 1) -> int:
    """32-bit words that one beat of a tap shows.

    Where atoms take turns in the fitting net, a beat of z begins with its atom's place.
    """
    z_lanes += cfg.fit_atoms > 1
    return {
        "r4": 3, "g": cfg.lanes, "gs": cfg.lanes, "gr": 4, "z": z_lanes, "dgr": 4, "dr4": 4,
        "dg": cfg.lanes, "deriv": 4,
    }.get(name, 1)


class Tap(wiring.Component):
    """One stage's tap: counts beats and tells when to falsify.

    Attributes
    ----------
    valid : In
        The stage hands on words in this cycle.
    words : In
        They, after falsification, 32 bits each.
    selected : In
        The fault is meant for this stage.
    fault_at : In
        In which beat.
    hit : Out
        Flip the last bits now (combinational; right in the cycles in which `valid` is high).
    """

    def __init__(self, name: str, words: int) -> None:
        self.name = name
        self.words_per_beat = words
        self.bits = LANE_BITS * words
        super().__init__(
            {
                "valid": In(1),
                "words": In(self.bits),
                "selected": In(1),
                "fault_at": In(24),
                "hit": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count = Signal(24)
        with m.If(self.valid):
            m.d.sync += count.eq(count + 1)
        m.d.comb += self.hit.eq(self.selected & (count == self.fault_at))
        return m


def flipped_flt(value: data.View, hit: Value) -> Value:
    """A flt with the last mantissa bit flipped where `hit` (zeros stay)."""
    return Cat(value.man ^ (hit & value.man.any()), value.exp, value.sign)


def lanes_of(m: Module, words: list) -> Value:
    """Words side by side in 32-bit lanes; signed ones keep their sign."""
    lanes = []
    for word in words:
        lane = Signal(LANE_BITS)
        m.d.comb += lane.eq(word)
        lanes.append(lane)
    return Cat(*lanes)


def flt_lanes(m: Module, cfg: AcceleratorConfig, values: list) -> Value:
    """The words of flts, in 32-bit lanes."""
    return lanes_of(m, [to_word(m, cfg, value)[0] for value in values])
