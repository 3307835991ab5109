"""Multipliers and memories of the accelerator, unit by unit, counted from elaboration in seconds.

No synthesis runs: every `Multiplier` and every memory that the units elaborate to is counted with
its widths, and the blocks that they take on an FPGA family are computed from the shapes of those
blocks. `resources` counts what Yosys makes of the same units, which takes minutes and also knows
the logic.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import Any

from amaranth.hdl import Fragment, Shape
from amaranth.lib import memory

from nvnmd.hdl.arith.multiplier import Multiplier
from nvnmd.hdl.arith.split import split_product
from nvnmd.hdl.params import AcceleratorConfig, ceil_div
from nvnmd.hdl.pipeline.memories import is_shallow
from nvnmd.hdl.resources import UNITS

BLOCK_BITS = 8192
"""Memories of fewer bits are counted as distributed RAM: a block would be nearly empty."""


@dataclass(frozen=True)
class Family:
    """The blocks of an FPGA family and how many of them one part has.

    Attributes
    ----------
    name, part : str
        Family, and the part whose blocks are given.
    multiplier, memory : str
        Names of the blocks.
    shapes : tuple of (int, int)
        Widths and depths that a memory block can take with one port that writes and one that reads.
    multipliers, memories : int
        Blocks of the part.
    """

    name: str
    part: str
    multiplier: str
    memory: str
    shapes: tuple[tuple[int, int], ...]
    multipliers: int
    memories: int

    @property
    def block_bits(self) -> int:
        """Bits of one memory block."""
        return max(w * d for w, d in self.shapes)

    def multiplier_blocks(self, a: int, b: int) -> int:
        """Blocks of a signed product of a by b bits that is built for the family."""
        return split_product(a, b, self.name).blocks

    def memory_blocks(self, width: int, depth: int) -> int:
        """Blocks of a memory, none for one of less than `BLOCK_BITS` or a shallow one."""
        if width * depth < BLOCK_BITS or is_shallow(width, depth):
            return 0
        return min(ceil_div(width, w) * ceil_div(depth, d) for w, d in self.shapes)


_RAMB36 = ((72, 512), (36, 1024), (18, 2048), (9, 4096), (4, 8192), (2, 16384), (1, 32768))
FAMILIES = (
    Family("ECP5", "LFE5U-85F", "MULT18X18D", "DP16KD",
           ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384)), 156, 208),
    Family("7-series", "XC7K325T", "DSP48E1", "RAMB36", _RAMB36, 840, 445),
    Family("UltraScale+", "XCVU9P", "DSP48E2", "RAMB36", _RAMB36, 6840, 2160),
)


@dataclass(frozen=True)
class Budget:
    """What a unit elaborates to.

    Attributes
    ----------
    multipliers : Counter of (int, int)
        How many of each shape, the wider operand first.
    memories : Counter of (int, int)
        How many of each width and depth.
    """

    multipliers: Counter[tuple[int, int]]
    memories: Counter[tuple[int, int]]

    @property
    def bits(self) -> int:
        """Bits of all memories."""
        return sum(count * w * d for (w, d), count in self.memories.items())

    def multiplier_blocks(self, family: Family) -> int:
        """Multiplier blocks on a family."""
        return sum(n * family.multiplier_blocks(*s) for s, n in self.multipliers.items())

    def memory_blocks(self, family: Family) -> int:
        """Memory blocks on a family."""
        return sum(n * family.memory_blocks(*s) for s, n in self.memories.items())

    def fits(self, part: Family) -> bool:
        """Whether a family's part has as many blocks of either kind."""
        return (self.multiplier_blocks(part) <= part.multipliers
                and self.memory_blocks(part) <= part.memories)


def count_budget(cfg: AcceleratorConfig) -> dict[str, Budget]:
    """Count the units of a configuration; what lies between them is wires.

    Returns
    -------
    dict of str to Budget
        By unit, in the order of `resources.UNITS`.
    """
    return {name: count_elaborated(unit(cfg)) for name, unit in UNITS.items()}


def count_elaborated(component: object) -> Budget:
    """Multipliers and memories of one component and all that is in it."""
    found = Budget(Counter(), Counter())
    waiting = [Fragment.get(component, None)]
    while waiting:
        fragment = waiting.pop()
        waiting.extend(part for part, *_ in fragment.subfragments)
        # what a fragment was made of: the component and what its elaboration returned
        for origin in fragment.origins or ():
            if isinstance(origin, Multiplier):
                found.multipliers[max(origin.a_bits, origin.b_bits),
                                  min(origin.a_bits, origin.b_bits)] += 1
            elif isinstance(origin, memory.Memory):
                found.memories[Shape.cast(origin.shape).width, origin.depth] += 1
    return found


def total(units: dict[str, Budget]) -> Budget:
    """The sum of all units."""
    return Budget(
        Counter(chain.from_iterable(b.multipliers.elements() for b in units.values())),
        Counter(chain.from_iterable(b.memories.elements() for b in units.values())),
    )


def document(units: dict[str, Budget]) -> dict[str, Any]:
    """What ``budget.json`` holds: the parts of the families, and every unit with its blocks."""
    return {
        "parts": {f.name: {"part": f.part, f.multiplier: f.multipliers, f.memory: f.memories}
                  for f in FAMILIES},
        "units": [{
            "unit": name, "memory_bits": unit.bits,
            "multipliers": {f"{a}x{b}": n for (a, b), n in sorted(unit.multipliers.items())},
            "memories": {f"{w}x{d}": n for (w, d), n in sorted(unit.memories.items())},
            "blocks": {f.name: {f.multiplier: unit.multiplier_blocks(f),
                                f.memory: unit.memory_blocks(f)} for f in FAMILIES}}
            for name, unit in units.items()]}
